"""The halves of what the post calls stabilised, as configurations, and the table of their comparison."""
