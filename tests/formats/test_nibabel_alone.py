import subprocess
import sys


def _run(program: str) -> str:
    """The output of a program in a process of its own, where nothing is imported yet."""
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return run.stdout.strip()


def test_nibabel_comes_without_pydicom_and_pydicom_still_can_be_had() -> None:
    program = """
import sys
from app.formats.nibabel_alone import import_nibabel
before = list(sys.meta_path)
nibabel = import_nibabel()
print("pydicom" in sys.modules, nibabel.Nifti1Header().sizeof_hdr, sys.meta_path == before)
import pydicom
print(pydicom.Dataset.__name__, import_nibabel() is nibabel)
"""
    assert _run(program).split() == ["False", "348", "True", "Dataset", "True"]


def test_another_thread_may_import_pydicom_meanwhile() -> None:
    program = """
import sys, threading
from app.formats import nibabel_alone
hiding = nibabel_alone._HidesPydicom(threading.get_ident())
sys.meta_path.insert(0, hiding)
try:
    import pydicom
except ModuleNotFoundError:
    print("hidden")
def elsewhere():
    import pydicom
    print(pydicom.Dataset.__name__)
thread = threading.Thread(target=elsewhere)
thread.start()
thread.join()
"""
    assert _run(program).split() == ["hidden", "Dataset"]
