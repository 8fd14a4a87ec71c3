"""The embedded endpoint as a busy account meets it: request rates, latency, pending snapshots, faster time.

A thin layer in front of moto's server, in a process of its own, for the benchmarks:

* `buckets.py`: EC2's token buckets per account, Region and API;
* `layer.py`: what stands before moto: refusals, latency, counts, and asynchronous invocations;
* `fleet.py`: volumes, snapshots and instances put there without a call;
* `clock.py`: service time, up to eight times faster than the machine's;
* `__main__.py`: the process; `remote.py`: starting it and asking it, from the benchmarks.
"""
