"""PROBAST+AI (Moons et al. 2025): topics of its four domains in both parts; a person answers its signaling questions."""

from darkcovid.audits.guidelines.guideline import Guideline, Item

DEVELOPMENT, EVALUATION = "development", "evaluation"
JUDGE = "the judgment of this domain is an assessor's"

PROBAST_AI = Guideline(
    "PROBAST+AI",
    "Moons et al., BMJ 2025;388:e082505, doi:10.1136/bmj-2024-082505",
    "Evidence by domain, not the signaling questions: answer those in the published tool, with this sheet beside it.",
    (
        Item("", f"{DEVELOPMENT}: participants and data", "appropriate sources", ("source", "design"), (6,), JUDGE),
        Item(
            "", f"{DEVELOPMENT}: participants and data", "inclusions and exclusions", ("eligibility", "flow of images"), (9, 11)
        ),
        Item("", f"{DEVELOPMENT}: predictors", "the same for all participants", ("preprocessing",), (10,)),
        Item(
            "",
            f"{DEVELOPMENT}: predictors",
            "not a stand-in for the source",
            ("robustness and shortcuts",),
            (7, 8, 19, 21, 22, 23),
        ),
        Item("", f"{DEVELOPMENT}: outcome", "determined appropriately and alike", ("definition of each class",), (5, 12), JUDGE),
        Item("", f"{DEVELOPMENT}: outcome", "judged without the predictors", ("annotators",)),
        Item("", f"{DEVELOPMENT}: analysis", "enough participants", ("sample size",), (34,)),
        Item("", f"{DEVELOPMENT}: analysis", "missing data", ("missing values",), (10,)),
        Item("", f"{DEVELOPMENT}: analysis", "class imbalance", ("definition of each class", "optimization")),
        Item(
            "", f"{DEVELOPMENT}: analysis", "overfitting and tuning", ("hyperparameters", "which weights are kept"), (15, 16, 24)
        ),
        Item(
            "",
            f"{EVALUATION}: participants and data",
            "other patients than in development",
            ("disjoint at the level of",),
            (2, 3, 4),
        ),
        Item("", f"{EVALUATION}: participants and data", "images from elsewhere", ("external data",), (32,)),
        Item("", f"{EVALUATION}: predictors", "the same for all participants", ("preprocessing",)),
        Item("", f"{EVALUATION}: outcome", "determined appropriately and alike", ("definition of each class",), (5, 12), JUDGE),
        Item("", f"{EVALUATION}: analysis", "enough participants with each outcome", ("definition of each class",), (34,)),
        Item("", f"{EVALUATION}: analysis", "no leakage between the sets", ("how images were divided",), (3, 4, 13, 14)),
        Item("", f"{EVALUATION}: analysis", "discrimination and calibration", ("measures", "performance"), (28, 30)),
        Item("", f"{EVALUATION}: analysis", "uncertainty", ("uncertainty and tests",), (26, 27)),
        Item(
            "", f"{EVALUATION}: analysis", "performance in groups", checks=(31,), ask="which groups matter for the intended use"
        ),
        Item("", "applicability", "population, predictors, outcome of the intended use", ("aim, clinical role, intended use",)),
    ),
)
