"""`python _used.py PROGRAM ...`: its exit code, CPU seconds and largest memory in KiB, as a line.

Linux counts the memory of what starts a program as the program's own: this one is small.
"""

import resource
import subprocess
import sys

if __name__ == "__main__":
    code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(code, used.ru_utime + used.ru_stime, used.ru_maxrss)
