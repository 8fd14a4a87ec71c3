"""Two runs at once: at every call boundary of the one and of the other, in an order that a schedule alone decides.

* `scheduler.py`: threads of which exactly one proceeds, and the stand-ins for what they wait on;
* `schedules.py`: which orders of two runs' calls are tried;
* `meeting.py`: a cloud in which two runs meet, and the journal of who did what;
* `invariants.py`: what must hold of snapshots, freezes and reports, however the two met;
* `older.py`: an older version, as far as another run can tell: by the tags that it reads and writes.
"""
