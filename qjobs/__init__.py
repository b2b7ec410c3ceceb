"""Remote quantum jobs: never lost, never run twice, always explained.

The front door is `qjobs.operations.plan`; `DESIGN` terms are defined in `qjobs.model`.
"""
