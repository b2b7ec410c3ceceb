"""A service that works until it is killed: its folder and device file are its arguments."""

import sys
import time
from pathlib import Path

from qjobs.service.assembly import Service
from qjobs.service.settings import Settings

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    devices = Path(sys.argv[2])
    speed = float(sys.argv[3])
    service = Service.open(Settings(data=folder, submit_delay_s=0.0, workers=2, device_file=devices, clock_speed=speed))
    service.executor.start()
    print("started", flush=True)
    while True:
        time.sleep(60)
