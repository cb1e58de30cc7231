"""What every Python judge needs: a table of tests, skips with a reason, the same last line as the C harness.

    from tn_interop import main, skip, need
    np = need("numpy")                      # skips the whole file if it is not installed
    def reads(): ...
    if __name__ == "__main__":
        main([reads])
"""
import importlib
import os
import subprocess
import sys
import traceback

BUILD = os.environ.get("TN_BUILD_DIR", os.path.abspath("build"))
SOURCE = os.environ.get("TN_SOURCE_DIR", os.path.abspath("."))


class Skip(Exception):
    pass


def skip(reason):
    """Ends the running test as skipped."""
    raise Skip(reason)


def need(module):
    """The module, or the end of the program as skipped."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        print(f"# skipped: {module} is not installed ({error})")
        sys.exit(77)


def tenon(*args, **options):
    """Runs the program of the build tree; returns the finished process with text in stdout and stderr."""
    command = [os.path.join(BUILD, "tenon"), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def main(tests):
    passed = failed = skipped = 0
    for test in tests:
        try:
            test()
            passed += 1
            print("ok     ", test.__name__)
        except Skip as reason:
            skipped += 1
            print("skip   ", test.__name__, "# skipped:", reason)
        except BaseException:
            failed += 1
            print("not ok ", test.__name__)
            traceback.print_exc(file=sys.stdout)
    print(f"# passed={passed} failed={failed} skipped={skipped}")
    sys.exit(1 if failed else 77 if skipped and not passed else 0)
