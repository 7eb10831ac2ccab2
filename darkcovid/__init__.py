"""darkcovid: rapid, honest experiments on covid chest radiographs. Research software, never a diagnosis."""

__version__ = "0.1.0"
