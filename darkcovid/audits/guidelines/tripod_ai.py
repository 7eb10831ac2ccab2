"""The 27 items of TRIPOD+AI (Collins et al. 2024) with their parts, in words of our own."""

from darkcovid.audits.guidelines.guideline import Guideline, Item

PAPER = "yours to write"

TRIPOD_AI = Guideline(
    "TRIPOD+AI",
    "Collins et al., BMJ 2024;385:e078378, doi:10.1136/bmj-2023-078378",
    "All 27 items and their parts by number, in words of our own; the wording that counts is the published one.",
    (
        Item("1", "title", "development or evaluation, population, outcome", ask=PAPER),
        Item("2", "abstract", "see TRIPOD+AI for abstracts", ask=PAPER),
        Item("3a", "introduction", "context and rationale", ask=PAPER),
        Item("3b", "introduction", "target population, purpose, users", ("aim, clinical role, intended use",)),
        Item(
            "3c", "introduction", "known inequalities in health", ask="between which groups, in this disease and these hospitals"
        ),
        Item("4", "introduction", "objectives", ask=PAPER),
        Item("5a", "methods", "sources of data and how representative they are", ("source", "design"), (6,)),
        Item("5b", "methods", "dates of the data", ask="from when to when images were taken"),
        Item("6a", "methods", "setting and centers", ask="which hospitals, how many, where"),
        Item("6b", "methods", "eligibility", ("eligibility",), (9,)),
        Item("6c", "methods", "treatments", ask="those received before the image, if they matter"),
        Item("7", "methods", "preparation of data", ("preprocessing",)),
        Item("8a", "methods", "outcome: definition and time", ("definition of each class",), (12,)),
        Item("8b", "methods", "outcome: who judged it", ("annotators",)),
        Item("8c", "methods", "outcome: blinding", ask="whether those who labeled knew the image's source or the model's answer"),
        Item("9a", "methods", "predictors: choice", ("preprocessing",), ask="why the image alone, or what else"),
        Item("9b", "methods", "predictors: definition and measurement", ("preprocessing",)),
        Item("9c", "methods", "predictors: who judged them", ("network",), ask="nobody, where pixels alone are used"),
        Item("10", "methods", "sample size", ("sample size",), (34,)),
        Item("11", "methods", "missing data", ("missing values",), (10,)),
        Item("12a", "methods", "use of data for development and evaluation", ("how images were divided",), (2, 3, 4, 13)),
        Item("12b", "methods", "handling of predictors", ("preprocessing", "augmentation"), (17,)),
        Item(
            "12c",
            "methods",
            "model, building steps, hyperparameters, internal validation",
            ("network", "optimization", "hyperparameters", "which weights are kept"),
            (15, 16, 18),
        ),
        Item("12d", "methods", "heterogeneity between clusters", checks=(6, 23, 31)),
        Item("12e", "methods", "measures of performance", ("measures", "uncertainty and tests"), (28, 30)),
        Item("12f", "methods", "updating", ask="recalibration or retraining after evaluation, or that there was none"),
        Item("12g", "methods", "how predictions were calculated", ("code and data",), (38,)),
        Item("13", "methods", "class imbalance", ("definition of each class",), (34,)),
        Item("14", "methods", "fairness", checks=(31,), ask="which groups were compared, and why these"),
        Item("15", "methods", "output of the model", ("measures",), (29,), ask="which threshold is to be used"),
        Item("16", "methods", "differences of development and evaluation data", ("external data",), (32,)),
        Item("17", "methods", "ethical approval", ("identity of patients",)),
        Item("18a", "open science", "funding", ("registration, protocol, funding",)),
        Item("18b", "open science", "conflicts of interest", ask="yours to say"),
        Item("18c", "open science", "protocol", ("registration, protocol, funding",)),
        Item("18d", "open science", "registration", ("registration, protocol, funding",)),
        Item("18e", "open science", "availability of data", ("code and data",)),
        Item("18f", "open science", "availability of code", ("code and data",), (38,)),
        Item("19", "involvement", "patients and public", ask="how they took part, or that they did not"),
        Item("20a", "results", "flow of participants", ("flow of images",), (11,)),
        Item("20b", "results", "characteristics", ("demographics", "missing values"), (9,)),
        Item("20c", "results", "development and evaluation data compared", ("external data", "demographics")),
        Item(
            "21", "results", "participants and outcomes in each analysis", ("how images were divided", "definition of each class")
        ),
        Item("22", "results", "full model", ("network", "code and data"), (38,)),
        Item(
            "23a", "results", "performance with intervals, in groups too", ("performance",), (26, 30, 31), ask="of which groups"
        ),
        Item("23b", "results", "heterogeneity in performance", checks=(31, 32)),
        Item("24", "results", "results of updating", ask="or that there was none"),
        Item("25", "discussion", "interpretation, with fairness", ("performance",), (7, 8, 19, 21), ask=PAPER),
        Item("26", "discussion", "limitations", ("limits, bias, who could be harmed",), (6, 7, 8)),
        Item("27a", "discussion", "poor or missing input", ask="what `predict` says of images it rejects, and what then happens"),
        Item("27b", "discussion", "users and their expertise", ask="who reads the answer; research software, never a diagnosis"),
        Item("27c", "discussion", "next steps", ask=PAPER),
    ),
)
