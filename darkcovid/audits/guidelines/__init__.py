"""Reporting guidelines item by item, and what a run answers of each."""

from darkcovid.audits.guidelines.claim import CLAIM
from darkcovid.audits.guidelines.guideline import AUTHOR_ITEM, AUTO, FAILS, Guideline, SheetRow, guideline_sheet
from darkcovid.audits.guidelines.probast_ai import PROBAST_AI
from darkcovid.audits.guidelines.tripod_ai import TRIPOD_AI

GUIDELINES: dict[str, Guideline] = {"claim": CLAIM, "tripod-ai": TRIPOD_AI, "probast-ai": PROBAST_AI}

__all__ = ["AUTHOR_ITEM", "AUTO", "FAILS", "GUIDELINES", "Guideline", "SheetRow", "guideline_sheet"]
