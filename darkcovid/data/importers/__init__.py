"""Which dataset is this folder? Each form that people download is one module here, with its source."""

from pathlib import Path

from darkcovid.core.errors import UsageError
from darkcovid.data.image_folders import APPLE_FOLDER
from darkcovid.data.importers.actualmed import ACTUALMED, FIGURE_1
from darkcovid.data.importers.base import ImportedImage, Importer
from darkcovid.data.importers.bimcv_covid19 import BIMCV_COVID19
from darkcovid.data.importers.chest_xray_pneumonia import CHEST_XRAY_PNEUMONIA
from darkcovid.data.importers.chexpert import CHEXPERT
from darkcovid.data.importers.class_folders import CLASS_FOLDERS, SPLITS
from darkcovid.data.importers.cohen import COHEN
from darkcovid.data.importers.covid_qu_ex import COVID_QU_EX
from darkcovid.data.importers.covidgr import COVIDGR
from darkcovid.data.importers.covidx import COVIDX
from darkcovid.data.importers.hannover import HANNOVER
from darkcovid.data.importers.medmnist import MEDMNIST
from darkcovid.data.importers.mimic_cxr_jpg import MIMIC_CXR_JPG
from darkcovid.data.importers.nih_chestxray14 import NIH_CHESTXRAY14
from darkcovid.data.importers.padchest import PADCHEST
from darkcovid.data.importers.qata_cov19 import QATA_COV19
from darkcovid.data.importers.radiography_database import RADIOGRAPHY_DATABASE
from darkcovid.data.importers.rsna_pneumonia import RSNA_PNEUMONIA
from darkcovid.data.importers.siim_covid19 import SIIM_COVID19
from darkcovid.data.importers.vindr_cxr import VINDR_CXR

# the special before the general
IMPORTERS = (
    *(RADIOGRAPHY_DATABASE, CHEST_XRAY_PNEUMONIA, COVID_QU_EX, QATA_COV19, COVIDX, COHEN, ACTUALMED, FIGURE_1, HANNOVER),
    *(NIH_CHESTXRAY14, RSNA_PNEUMONIA, SIIM_COVID19, CHEXPERT, MIMIC_CXR_JPG, PADCHEST, VINDR_CXR, BIMCV_COVID19),
    *(MEDMNIST, COVIDGR, CLASS_FOLDERS),
)
SHOWN = 6

__all__ = ["IMPORTERS", "ImportedImage", "Importer", "choose_importer", "dataset_folder"]


def dataset_folder(folder: Path) -> Path:
    """The dataset's own folder: `folder`, or where downloads pack a dataset into folders that hold nothing else, the one inside
    whose form is known.

    Args:
        folder: What the user named.

    Returns:
        The folder to import.
    """
    inner = folder
    while not _special_importer(inner):
        entries = [path for path in inner.iterdir() if not path.name.startswith(".") and path.name != APPLE_FOLDER]
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].is_symlink():
            return folder
        inner = entries[0]
    return inner


def _special_importer(folder: Path) -> Importer | None:
    return next((importer for importer in IMPORTERS if importer is not CLASS_FOLDERS and importer.recognizes(folder)), None)


def choose_importer(folder: Path, form: str | None) -> Importer:
    """The importer of a folder.

    Args:
        folder: The download.
        form: The importer's name; None takes the first that recognizes the folder.

    Returns:
        The importer.

    Raises:
        UsageError: No importer, or not the one called `form`, recognizes the folder, or it holds whole datasets.
    """
    if form is not None:
        importer = next(importer for importer in IMPORTERS if importer.name == form)
        if importer is not CLASS_FOLDERS and not importer.recognizes(folder):
            raise UsageError(f"--form {form}: {folder} does not have the files of {importer.source}")
        return importer
    importer = _special_importer(folder) or (CLASS_FOLDERS if CLASS_FOLDERS.recognizes(folder) else None)
    if importer is CLASS_FOLDERS:
        _check_no_datasets_inside(folder)
    if importer is None:
        names = [f"{path.name}{'/' * path.is_dir()}" for path in sorted(folder.iterdir())]
        seen = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "") if names else "nothing"
        raise UsageError(
            f"{folder}: not a form of folder that is known (it holds {seen}); put images into folders named after "
            "classes, or list them in a CSV and name it with --table"
        )
    return importer


def _check_no_datasets_inside(folder: Path) -> None:
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.is_symlink()]
    folders = [path for path in inside if path.name.casefold() not in SPLITS]
    datasets = [path.name for path in folders if (path / "manifest.csv").is_file() or _special_importer(path)]
    if datasets:
        raise UsageError(
            f"{folder}: holds datasets, not classes ({', '.join(datasets[:SHOWN])}); name one of them, or import each and join "
            "their manifests with: darkcovid data merge; --form class-folders takes folders for classes all the same"
        )
