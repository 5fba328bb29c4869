"""QMP: a source and a destination of migrations that a harness written for QEMU drives.

A client of the service that speaks QEMU's protocol (docs/qmp.md). `Endpoint` is one side, `serve` serves
some on sockets.
"""

from hacdbs_sim.qmp.addresses import Address as Address
from hacdbs_sim.qmp.addresses import parse_uri as parse_uri
from hacdbs_sim.qmp.endpoint import Endpoint as Endpoint
from hacdbs_sim.qmp.errors import QmpError as QmpError
from hacdbs_sim.qmp.migration_spec import LinkOptions as LinkOptions
from hacdbs_sim.qmp.serving import Side as Side
from hacdbs_sim.qmp.serving import serve as serve
