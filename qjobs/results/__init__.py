"""Results that last: saved by experiment and date, found again, labelled and compared."""
