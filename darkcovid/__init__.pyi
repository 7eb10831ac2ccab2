from darkcovid.experiment.audit_report import AuditReport as AuditReport
from darkcovid.experiment.audit_report import DataAuditReport as DataAuditReport
from darkcovid.experiment.audit_report import audit as audit
from darkcovid.experiment.audit_report import audit_data as audit_data
from darkcovid.experiment.finished_run import ComparisonTable as ComparisonTable
from darkcovid.experiment.finished_run import Run as Run
from darkcovid.experiment.finished_run import compare as compare
from darkcovid.experiment.finished_run import open_run as open_run
from darkcovid.experiment.notebook import run as run
from darkcovid.experiment.notebook import sweep as sweep
from darkcovid.vision import CXRDataBlock as CXRDataBlock
from darkcovid.vision import CXRDataLoaders as CXRDataLoaders
from darkcovid.vision import CXRLearner as CXRLearner
from darkcovid.vision import LungCrop as LungCrop
from darkcovid.vision import LungMask as LungMask
from darkcovid.vision import Predictor as Predictor
from darkcovid.vision import Segmenter as Segmenter
from darkcovid.vision import cxr_learner as cxr_learner
from darkcovid.vision import darkcovid_learner as darkcovid_learner

__version__: str
