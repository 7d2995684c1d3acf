"""Comparison of finished searches and trainings: rows, intervals over seeds, curves, paired tests."""

from typing import TYPE_CHECKING

from nas.utils.lazy import lazy_exports

if TYPE_CHECKING:
    from nas.comparison.compare import Comparison as Comparison
    from nas.comparison.compare import compare_jobs as compare_jobs
    from nas.comparison.jobs import Job as Job
    from nas.comparison.jobs import read_jobs as read_jobs
    from nas.comparison.rows import rows_of as rows_of

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "Comparison": "nas.comparison.compare",
        "Job": "nas.comparison.jobs",
        "compare_jobs": "nas.comparison.compare",
        "read_jobs": "nas.comparison.jobs",
        "rows_of": "nas.comparison.rows",
    },
)
