"""The faults that a run survives, as one table. Tests read their expectations here; docs/reliability.md is generated from it.

python tests/faults.py     writes the table of docs/reliability.md
"""

from dataclasses import dataclass
from pathlib import Path

from made_tables import MadeTable

DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"
TABLE = MadeTable(DOCUMENT, "<!-- faults: made by `python tests/faults.py` -->", "<!-- end of faults -->")


@dataclass(frozen=True)
class Fault:
    """One row: `made` is how the test causes the fault, `seen` is text that the user sees (the test looks for each piece
    between dots), `code` is the exit code, `kept` is what survives, and `test` is the test of this row."""

    fault: str
    made: str
    seen: str
    code: str
    kept: str
    test: str

    def is_shown_in(self, text: str) -> bool:
        """Return whether `text` has each piece of `seen`, between its dots, in order."""
        place = 0
        for piece in self.seen.split(" … "):
            place = text.find(piece, place)
            if place < 0:
                return False
        return True


TRAINING = "tests/behaviour/test_training.py"
DAMAGED = "tests/behaviour/test_damaged_runs.py"
FAULTS_TEST = "tests/behaviour/test_faults.py"
FAULTS = {
    "kill": Fault(
        "kill -9, power cut",
        "SIGKILL at random moments: importing, compiling, stepping, saving, drawing (`--kills 30` for thirty)",
        "continuing … after step",
        "137",
        "every complete checkpoint; the next start ends bitwise identical to an uninterrupted run, with one record per step",
        "tests/behaviour/test_kills.py::test_a_run_killed_repeatedly_is_bitwise_identical_to_an_uninterrupted_one",
    ),
    "signal": Fault(
        "Ctrl-C, SIGTERM (preemption), SIGHUP (a lost terminal)",
        "the signal during training",
        "stopped by SIG … ; the same command continues from here",
        "130, 143, 129",
        "everything: a checkpoint is written first",
        f"{TRAINING}::test_a_signal_saves_and_the_same_command_resumes",
    ),
    "second-signal": Fault(
        "a second Ctrl-C",
        "SIGINT twice during compilation",
        "",
        "130",
        "everything saved before; the process exits at once",
        f"{FAULTS_TEST}::test_a_second_ctrl_c_exits_at_once_and_keeps_the_checkpoints",
    ),
    "output": Fault(
        "output that nobody can read: a reader that left, a closed or full standard output",
        "the command in `| head -1`, with `>&-`, and to a device that is always full",
        "",
        "0",
        "everything: the run trains to its end and writes its files",
        "tests/behaviour/test_lost_output.py::test_lost_output_never_ends_training",
    ),
    "memory": Fault(
        "a step that does not fit into the device's memory",
        "the error that JAX raises then, raised by the first step",
        "error: train.batch_size= … expected a step that fits into the device's memory. Set a smaller",
        "2",
        "every complete checkpoint; smaller batches and networks are another run",
        f"{FAULTS_TEST}::test_a_step_that_does_not_fit_into_memory_ends_in_one_line",
    ),
    "second-start": Fault(
        "a second start in a folder where a run trains",
        "the folder locked while the command starts again",
        "another start is training there; wait for it, stop it, or use another folder",
        "2",
        "everything: the first start continues undisturbed",
        f"{TRAINING}::test_a_second_start_during_training_is_refused",
    ),
    "process-signal": Fault(
        "SIGTERM to one of several processes",
        "two processes train; the second gets the signal",
        "stopped by SIGTERM; the same command continues from here",
        "143, both",
        "everything: both stop at the same step and save it",
        "tests/behaviour/test_processes.py::test_two_processes_stop_together_and_one_process_resumes_the_run",
    ),
    "process-lost": Fault(
        "one of several processes dies",
        "two processes train; the first is killed with SIGKILL",
        "ended; its output says why. … The same command in each continues from the last checkpoint.",
        "2, within a minute",
        "every complete checkpoint; one process or two continue from it",
        "tests/behaviour/test_processes.py::test_if_one_of_two_processes_dies_the_other_exits_and_the_run_can_resume",
    ),
    "disk-full": Fault(
        "disk full",
        "a tmpfs with 0 to 1,200 KB left, so that it fills up at the start, at a record, a grid or a checkpoint",
        "error: … ; make room",
        "2",
        "every complete checkpoint and record; after space is freed, the run ends with the same bits",
        f"{FAULTS_TEST}::test_a_full_disk_loses_nothing_already_written",
    ),
    "read-only": Fault(
        "read-only folder",
        "a tmpfs remounted read-only",
        "error: [Errno 30] Read-only file system: … ; give a folder that may be written to",
        "2",
        "everything; `sample` and `verify` still read it",
        f"{FAULTS_TEST}::test_a_read_only_folder_is_reported_and_can_still_be_read",
    ),
    "deleted": Fault(
        "folder deleted or replaced while training",
        "the folder moved between two chunks of steps",
        "the folder was removed or replaced while the run was training in it … put it back to continue",
        "2",
        "the moved folder is complete, and nothing new appears in its place",
        f"{FAULTS_TEST}::test_a_moved_folder_is_not_created_again",
    ),
    "damaged": Fault(
        "checkpoint with changed bytes, truncated, or emptied",
        "bytes of its files changed, files cut in half, its folder emptied",
        "; it is now … , and the run continues from step",
        "0",
        "the checkpoint before it; the damaged one moves to `damaged/`; the run ends with the same bits",
        f"{DAMAGED}::test_a_damaged_checkpoint_is_quarantined_and_the_one_before_it_gives_the_same_bits",
    ),
    "all-damaged": Fault(
        "every checkpoint damaged",
        "bytes changed in all of them",
        "no whole checkpoint is left to continue from: put one back, or start in another folder",
        "2",
        "everything, unchanged",
        f"{DAMAGED}::test_a_run_with_only_damaged_checkpoints_is_left_unchanged",
    ),
    "shapes": Fault(
        "configuration and checkpoint of different shapes",
        "model.gen.width doubled in config.json, and in the command",
        "the checkpoint of step … is of other settings; use those it was made with, or another folder",
        "2",
        "everything, unchanged",
        f"{FAULTS_TEST}::test_a_checkpoint_of_other_shapes_is_refused_and_left_unchanged",
    ),
    "images": Fault(
        "images changed since the run started",
        "one image painted over",
        "the images have changed since the run started … : other contents",
        "2",
        "everything, unchanged",
        f"{TRAINING}::test_changed_images_are_refused",
    ),
    "records": Fault(
        "damaged records",
        "a line of metrics.jsonl removed, truncated or replaced, before the first checkpoint that is left",
        "put the file back as it was, or use another folder",
        "2",
        "everything, unchanged",
        f"{DAMAGED}::test_damaged_records_are_named_and_nothing_is_written",
    ),
    "damaged-end": Fault(
        "damaged records after a checkpoint",
        "the last line of metrics.jsonl cut, or a line before it removed or replaced",
        "metrics.jsonl … , and the last checkpoint is of step … ; it is now … , and the run continues from step",
        "0",
        "the newest state up to which every record is there; the rest moves to `damaged/`; the run ends with the same bits",
        f"{DAMAGED}::test_a_run_continues_before_the_first_damaged_record",
    ),
    "lost-records": Fault(
        "metrics.jsonl deleted or replaced while training",
        "the file removed between two chunks of steps",
        "metrics.jsonl was deleted; it has been written again",
        "0",
        "every record: the run holds the file open and writes it again",
        f"{FAULTS_TEST}::test_deleted_metrics_are_written_again",
    ),
    "any-path": Fault(
        "a path with `[`, `]` or `\\`",
        "`--workdir 'p [1]/run'`",
        "",
        "0",
        "everything; each checkpoint is read back before it gets its name",
        "tests/run/test_checkpoints.py::test_checkpoints_below_any_path_can_be_read",
    ),
    "renamed": Fault(
        "a checkpoint renamed, an empty folder among them",
        "`mv checkpoints/8 checkpoints/12`; `mkdir checkpoints/999`",
        "step 12 is damaged: it holds step … , so its folder was renamed; rename it back",
        "2",
        "everything; a checkpoint says which step it holds, and an empty folder is none",
        "tests/run/test_checkpoints.py::test_a_renamed_checkpoint_and_an_empty_folder_are_not_taken_for_what_their_names_say",
    ),
    "edited": Fault(
        "files of a run edited, exchanged or deleted after its end",
        "values of manifest.json and data.json, records, grids and checkpoints changed or removed, then `verify`",
        "edited or damaged: … the run's weights again, but its files say something else",
        "1",
        "everything; `verify` only reads, names the file and the value, and says what it does not compare",
        "tests/behaviour/test_verify.py::test_verify_finds_every_file_that_was_edited",
    ),
    "clock": Fault(
        "the clock goes backwards",
        "a clock that goes back an hour at each reading, during training and when resuming",
        "",
        "0",
        "everything: the same bits, times that only grow, the newest checkpoint by its step",
        f"{FAULTS_TEST}::test_a_clock_that_goes_backwards_changes_nothing",
    ),
    "nan": Fault(
        "a loss, weight or image that is not finite",
        "a learning rate of 1e8",
        "so the run has stopped",
        "2",
        "the last checkpoint before it; the message names the step, the value and the first tensor",
        f"{TRAINING}::test_a_non_finite_loss_stops_the_run_and_keeps_the_last_good_checkpoint",
    ),
    "pickle": Fault(
        "a pickle where a checkpoint, manifest, configuration, record, latents or state dict is expected",
        "files replaced by a pickle that would create a folder when loaded",
        "error: ",
        "2",
        "everything; no code in the file runs",
        f"{FAULTS_TEST}::test_reading_a_file_runs_no_code",
    ),
    "archive": Fault(
        "an archive whose member names point outside it",
        "a .pth with members named ../../out and /out",
        "error: --from=",
        "2",
        "everything; archives are read in place and never unpacked",
        f"{FAULTS_TEST}::test_an_archive_writes_nothing_outside_itself",
    ),
    "bomb": Fault(
        "an image of absurd size",
        "an image with more pixels than `data.max_pixels`",
        "more than … pixels; data.max_pixels allows more",
        "2",
        "everything; the image is refused before it is decoded",
        "tests/data/test_decode.py::test_an_image_of_absurd_size_is_refused_before_it_is_decoded",
    ),
    "import-interrupt": Fault(
        "Ctrl-C in the first second, while packages are imported",
        "SIGINT in the middle of an import",
        "",
        "130",
        "everything; the signal is acted on when the import is done",
        "tests/training/test_signals.py::test_ctrl_c_during_an_import_is_acted_on_when_the_import_is_done",
    ),
    "abandoned": Fault(
        "hidden files that a killed start was writing",
        "such files in a run's folder, then a start",
        "",
        "0",
        "everything else; the next start removes them, and `verify` the scratch folders of killed verifications",
        "tests/run/test_folder.py::test_a_start_removes_the_files_that_a_killed_one_was_writing",
    ),
    "programs": Fault(
        "compiled programs exchanged, changed or cut in the user's cache",
        "two files of the cache exchanged by name",
        "",
        "0",
        "everything; the next start removes them and compiles again",
        "tests/devices/test_compile_cache.py::test_entries_that_were_exchanged_or_changed_are_deleted",
    ),
    "decoding-killed": Fault(
        "kill -9 while a large folder is decoded",
        "SIGKILL during the third of five blocks, and a journal whose last line is cut off",
        "decoding … later starts read them from there",
        "137",
        "every block that was decoded; the next start decodes the others",
        "tests/data/test_storage.py::test_a_start_after_a_kill_decodes_only_the_other_blocks",
    ),
    "decoded-damaged": Fault(
        "decoded images changed in the user's cache",
        "one bit of the file of pixels changed",
        "decoding … later starts read them from there",
        "0",
        "everything; the next start decodes the damaged block again",
        "tests/data/test_storage_faults.py::test_a_damaged_block_is_decoded_again",
    ),
    "mixed-samples": Fault(
        "a second sampling into a folder that holds files",
        "`sample --out samples/` twice",
        "holds files already. Give a new folder, or --overwrite to replace",
        "2",
        "everything; a folder is written whole under another name first",
        "tests/run/test_sample.py::test_a_folder_is_written_whole_or_not_at_all_and_never_mixed",
    ),
    "claims": Fault(
        "a file of latents that claims more than it holds",
        "a .npy and a .npz whose header claims terabytes",
        "not readable as an array: it claims … bytes of float32, and holds",
        "2",
        "everything; it is refused before anything is allocated",
        "tests/run/test_sample.py::test_a_file_that_claims_more_than_it_holds_is_refused",
    ),
    "whole-model": Fault(
        "a whole pickled PyTorch model in place of its state dict",
        "`import --from` such a file",
        "got a whole model or other Python objects. In PyTorch save model.state_dict(), and give that file.",
        "2",
        "everything; no code in the file runs",
        "tests/interop/test_torch_variants.py::test_a_whole_model_is_refused_without_torchs_advice",
    ),
    "variables": Fault(
        "`JAX_PLATFORMS` of a platform that is not there, or a debugging variable of JAX that cannot work",
        "the variable set, then a start",
        "error: JAX_ … : expected … the variable.",
        "2",
        "everything; nothing is written",
        "tests/behaviour/test_odd_starts.py::test_variables_that_cannot_work_are_refused_in_one_line",
    ),
    "requirements": Fault(
        "a Python without the requirements",
        "the command with no installed package",
        "is not installed. Run: pip install -r requirements.txt",
        "2",
        "everything; `--help` and `--version` need none of them",
        "tests/behaviour/test_odd_starts.py::test_a_python_without_the_requirements_names_the_file_that_lists_them",
    ),
    "soak": Fault(
        "thousands of steps",
        "1,200 steps with samples and checkpoints (20,000 by `python -m benchmarks.soak`)",
        "",
        "0",
        "memory, files, threads and processes grow only as intended",
        f"{FAULTS_TEST}::test_a_long_run_leaks_nothing",
    ),
}  # fmt: skip


def table() -> str:
    """Return the rows as Markdown, between the marks."""
    lines = ["| fault | how the test causes it | what you see | exit code | what survives | test |", "|---|---|---|---|---|---|"]
    for row in FAULTS.values():
        seen = f"`{row.seen}`" if row.seen else "nothing"
        file, name = row.test.split("::")
        lines.append(f"| {row.fault} | {row.made} | {seen} | {row.code} | {row.kept} | `{file}::{name}` |")
    return TABLE.marked(lines)


def with_table(document: str) -> str:
    """Return the document with the current table."""
    return TABLE.put(table(), document)


if __name__ == "__main__":
    TABLE.write(table())
