"""A run that dies at its k-th AWS call, for every k, and what its repetitions and the next slots make of it.

* `deaths.py`: the ways to die, and the gate in front of the ports that numbers the calls;
* `fleet.py`: volumes, snapshots and policies such that one run creates, shares, freezes, is refused and prunes;
* `night.py`: the runs of a night, one of them dying, repeated as Lambda repeats them;
* `invariants.py`: what must hold of snapshots, freezes and reports, whatever died.
"""
