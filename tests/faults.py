"""What can befall a run, as one table: the tests look here for what they expect, and docs/reliability.md is made from it.

python tests/faults.py     writes the table of docs/reliability.md anew
"""

from dataclasses import dataclass
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "reliability.md"
BEGIN, END = "<!-- faults: made by `python tests/faults.py` -->", "<!-- end of faults -->"


@dataclass(frozen=True)
class Fault:
    """`made` says how the test brings it about, `seen` is text that the user is shown (of which its test finds every piece
    between dots), `code` the exit code, `kept` what is left, `test` the test that holds the row."""

    fault: str
    made: str
    seen: str
    code: str
    kept: str
    test: str

    def is_shown_in(self, text: str) -> bool:
        """Whether each piece of `seen`, between its dots, stands in `text`, in order."""
        place = 0
        for piece in self.seen.split(" … "):
            place = text.find(piece, place)
            if place < 0:
                return False
        return True


TRAINING = "tests/behaviour/test_training.py"
FAULTS_TEST = "tests/behaviour/test_faults.py"
FAULTS = {
    "kill": Fault(
        "kill -9, power cut",
        "SIGKILL at random moments: importing, compiling, stepping, saving, drawing (`--kills 30` for thirty)",
        "continuing … after step",
        "137",
        "every whole checkpoint; the next start ends with the uninterrupted run's bits, each step's record once",
        "tests/behaviour/test_kills.py::test_a_run_killed_again_and_again_ends_with_the_uninterrupted_ones_bits",
    ),
    "signal": Fault(
        "Ctrl-C, SIGTERM (preemption)",
        "the signal, while it trains",
        "stopped by SIG … ; the same command continues from here",
        "130, 143",
        "all: a checkpoint is written first",
        f"{TRAINING}::test_a_signal_saves_and_the_same_command_goes_on",
    ),
    "second-signal": Fault(
        "a second Ctrl-C",
        "SIGINT twice, while it compiles",
        "",
        "130",
        "what was saved before; it leaves at once",
        f"{FAULTS_TEST}::test_a_second_ctrl_c_leaves_at_once_and_what_was_saved_stays",
    ),
    "second-start": Fault(
        "a second start in a folder that trains",
        "the folder held while the command is given again",
        "another start is training there; wait for it, stop it, or use another --workdir",
        "2",
        "all: the first goes on undisturbed",
        f"{TRAINING}::test_a_second_start_in_a_folder_that_trains_is_refused",
    ),
    "process-signal": Fault(
        "SIGTERM to one of several processes",
        "two processes train; the signal comes to the second",
        "stopped by SIGTERM; the same command continues from here",
        "143, both",
        "all: they stop at the same step and save it",
        "tests/behaviour/test_processes.py::test_two_processes_stop_together_and_one_goes_on_and_back",
    ),
    "process-lost": Fault(
        "one of several processes dies",
        "two processes train; the first is killed with SIGKILL",
        "",
        "not 0, within a minute",
        "every whole checkpoint; one process or two go on from it",
        "tests/behaviour/test_processes.py::test_when_one_of_two_dies_the_other_ends_and_the_run_goes_on",
    ),
    "disk-full": Fault(
        "disk full",
        "a tmpfs filled but for 0 to 1,200 KB, so that it is full at the start, at a record, a grid, a checkpoint",
        "error: … ; make room",
        "2",
        "every whole checkpoint and record; with room made, the run ends with the same bits",
        f"{FAULTS_TEST}::test_a_full_disk_costs_nothing_that_was_written",
    ),
    "read-only": Fault(
        "read-only folder",
        "a tmpfs mounted anew as read-only",
        "error: [Errno 30] Read-only file system: … ; give a folder that may be written to",
        "2",
        "all; `sample` and `verify` still read it",
        f"{FAULTS_TEST}::test_a_read_only_folder_is_said_and_can_still_be_read",
    ),
    "deleted": Fault(
        "folder deleted or replaced while training",
        "the folder moved away between two dispatches",
        "the folder was removed or replaced while the run was training in it … put it back to continue",
        "2",
        "what was moved is whole, and nothing new is made in its place",
        f"{FAULTS_TEST}::test_a_folder_that_is_taken_away_is_not_made_again",
    ),
    "damaged": Fault(
        "checkpoint with flipped bytes, cut short, or emptied",
        "bytes of its files changed, files halved, its folder emptied",
        "; it is now … , and the run goes on from step",
        "0",
        "the checkpoint before it; the damaged one lies in `damaged/`; the run ends with the same bits",
        f"{TRAINING}::test_a_damaged_checkpoint_is_put_aside_and_the_one_before_it_leads_to_the_same_bits",
    ),
    "all-damaged": Fault(
        "every checkpoint damaged",
        "bytes changed in all of them",
        "no whole checkpoint is left to go on from: put one back, or begin in another --workdir",
        "2",
        "all as it was found",
        f"{TRAINING}::test_a_run_whose_checkpoints_are_all_damaged_is_left_as_it_is",
    ),
    "shapes": Fault(
        "configuration and checkpoint of different shapes",
        "model.gen.width doubled in config.json, and in the command",
        "the checkpoint of step … is of other settings; use those it was made with, or another --workdir",
        "2",
        "all as it was found",
        f"{FAULTS_TEST}::test_a_checkpoint_of_other_shapes_is_refused_and_left_as_it_is",
    ),
    "pictures": Fault(
        "pictures changed since the run began",
        "one picture painted over",
        "the pictures have changed since the run began … : other contents",
        "2",
        "all as it was found",
        f"{TRAINING}::test_changed_pictures_are_refused",
    ),
    "records": Fault(
        "records spoilt",
        "a line of metrics.jsonl lost, cut, or of something else",
        "put the file back as it was, or use another --workdir",
        "2",
        "all as it was found",
        f"{TRAINING}::test_records_that_were_spoilt_are_named_and_nothing_is_written",
    ),
    "clock": Fault(
        "the clock goes backwards",
        "a clock that runs an hour back at each look, while it trains and when it goes on",
        "",
        "0",
        "all: the same bits, times that only grow, the newest checkpoint by its step",
        f"{FAULTS_TEST}::test_a_clock_that_goes_backwards_changes_nothing",
    ),
    "nan": Fault(
        "a loss, weight or picture that is not finite",
        "a learning rate of 1e8",
        "so the run has stopped",
        "2",
        "the last checkpoint before it; step, figure and the first tensor are named",
        f"{TRAINING}::test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint",
    ),
    "pickle": Fault(
        "a pickle where a checkpoint, manifest, configuration, record, latents or state dict is expected",
        "files replaced by a pickle that would make a folder when read",
        "error: ",
        "2",
        "all; nothing in the file is run",
        f"{FAULTS_TEST}::test_no_file_that_is_read_runs_code",
    ),
    "archive": Fault(
        "an archive whose names lead out of it",
        "a .pth with members named ../../out and /out",
        "error: --from=",
        "2",
        "all; archives are read in place and never unpacked",
        f"{FAULTS_TEST}::test_an_archive_writes_nothing_outside_itself",
    ),
    "bomb": Fault(
        "an image of absurd size",
        "an image with more pixels than Pillow's limit",
        "expected an image of at most … pixels, got",
        "2",
        "all; it is refused before it is decoded",
        "tests/data/test_decode.py::test_an_image_of_absurd_size_is_refused_before_it_is_decoded",
    ),
    "soak": Fault(
        "thousands of steps",
        "1,200 steps with samples and checkpoints (20,000 by `python -m benchmarks.soak`)",
        "",
        "0",
        "memory, files, threads and processes do not grow but as they are meant to",
        f"{FAULTS_TEST}::test_a_long_run_leaves_nothing_behind",
    ),
}  # fmt: skip


def table() -> str:
    """The rows as Markdown, between the marks."""
    lines = ["| fault | how the test makes it | what is seen | exit code | what is kept | test |", "|---|---|---|---|---|---|"]
    for row in FAULTS.values():
        seen = f"`{row.seen}`" if row.seen else "nothing"
        file, name = row.test.split("::")
        lines.append(f"| {row.fault} | {row.made} | {seen} | {row.code} | {row.kept} | `{file}::{name}` |")
    return "\n".join([BEGIN, *lines, END])


def with_table(document: str) -> str:
    """The document with its table as of now."""
    before, rest = document.split(BEGIN)
    return before + table() + rest.split(END)[1]


if __name__ == "__main__":
    DOCUMENT.write_text(with_table(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
