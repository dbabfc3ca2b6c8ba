"""Talk to a PACS: the DICOM protocol by pynetdicom, DICOMweb by dicomweb-client; extra `pacs`."""

from monai_tumor.pacs.access import Access, Tls
from monai_tumor.pacs.address import Address, Node, Web, parse_address, parse_node
from monai_tumor.pacs.client import echo, fetch, find, send
from monai_tumor.pacs.results import (
    Echoed,
    Fetched,
    Found,
    Level,
    Query,
    Sent,
    SentFile,
    Status,
)
from monai_tumor.pacs.spool import Room, State
from monai_tumor.pacs.watch import WatchOptions, watch
from monai_tumor.pacs.watched import Event, Watched

__all__ = [
    "Access",
    "Address",
    "Echoed",
    "Event",
    "Fetched",
    "Found",
    "Level",
    "Node",
    "Query",
    "Room",
    "Sent",
    "SentFile",
    "State",
    "Status",
    "Tls",
    "WatchOptions",
    "Watched",
    "Web",
    "echo",
    "fetch",
    "find",
    "parse_address",
    "parse_node",
    "send",
    "watch",
]
