import subprocess, sys, json, os, time
from tests.android_bench.conftest import *
from tests.android_bench.test_campaign import stub
from tests.tiny_runs import make_flags, ROOT as TROOT
SCRIPT = """
import sys
import tests.tiny_runs
tests.tiny_runs.space()
from tfnas.bin import run
from android_bench import campaign
import dataclasses
# a noisy host: do not discard
old = campaign.Settings.__init__.__defaults__
campaign.Settings.__init__.__defaults__ = (*old[:-1], 100.0)
sys.argv[0]="tfnas-run"
run.entry()
"""
def test_run(make_phone, native, tmp_path):
    phone = make_phone(path=[native])
    adb.find(phone.serial)
    work = "/tmp/team/phone_run"
    import shutil; shutil.rmtree(work, ignore_errors=True)
    args = [*make_flags(lut__rounds=2, lut__nets=3, run__bench_rounds=3), f"--device=adb:{phone.serial}", f"--benchmark_binary={STUB}", f"--workdir={work}"]
    for k in range(2):
        t=time.time()
        done = subprocess.run([sys.executable, "-c", SCRIPT, *args], cwd=TROOT, capture_output=True, text=True)
        print(done.returncode, time.time()-t, done.stdout[-1500:], done.stderr[-1500:])
    print(phone.left_behind, len(phone.commands))
    b=json.load(open(work+"/bench/bench.json")); print(b["device"]["name"], b["runtime"], b["bias_percent"])
