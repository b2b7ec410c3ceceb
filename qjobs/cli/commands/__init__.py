"""Every command of `qjobs` with its options; what a command works with is imported when it is called."""
