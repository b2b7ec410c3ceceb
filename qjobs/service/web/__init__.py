"""What every protocol shares: checks of requests, cookies, forms, answers to errors, and the pages for people."""
