"""Hostile submissions. Each tries to earn points without doing the exercises, to break out, or to break the grading."""

from __future__ import annotations

from dataclasses import dataclass

from nbformat import NotebookNode

from labkit.grading.small_lab import UNDONE, notebook

FORGED = ("def double(x):\n    return None", "def sort_words(words):\n    return None")


@dataclass(frozen=True)
class Attack:
    """One submission.

    Attributes:
        name: What it does.
        before: Cells before the exercises.
        exercises: The two exercises.
        after: Cells at the end.
        forges: It makes a public check pass that should fail, so the result must report tampering.
        loot: Text that must be nowhere in what the learner gets back.
    """

    name: str
    before: tuple[str, ...] = ()
    exercises: tuple[str, str] = FORGED
    after: tuple[str, ...] = ()
    forges: bool = False
    loot: str = ""

    def notebook(self) -> NotebookNode:
        """The submission."""
        return notebook(*self.exercises, *self.before, after=self.after)


ALWAYS = """
class Always:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __bool__(self): return True
    def __float__(self): return 1.0
    def __array__(self, *a, **k):
        import numpy
        return numpy.array(1.0)
    def __reduce__(self): return (print, ("pickled",))
    __hash__ = None
"""
LOOK = """
import os, glob
words = ("bundle", "judge", "gradebook", "result.json", "solutions", "hostile", "secret of this class")
found = []
for top in ("/", "/root", "/home", "/tmp", "/mnt", "/srv", "/var", "/proc/1", "/proc/1/root"):
    for folder, folders, files in os.walk(top):
        folders[:] = [f for f in folders if f not in ("site-packages", "lib", "usr", "sys", "self", "task")]
        found += [os.path.join(folder, f) for f in files if any(w in f for w in words) and f.endswith((".py", ".json", ".zip", ".db"))]
print("LOOT", found) if found else print("nothing")
"""

ATTACKS = [
    # the public checks
    Attack("check-is-a-no-op", forges=True, after=(), before=(
        "from contextlib import contextmanager\nimport labkit\n@contextmanager\ndef check(*a, **k):\n"
        "    class E:\n        def __getattr__(self, n): return lambda *a, **k: None\n    print('PASS')\n    yield E()\nlabkit.check = check",)),
    Attack("expect-always-agrees", forges=True, before=(
        "from labkit.check import Expect\nExpect._judge = lambda self, *a: setattr(self, 'done', 1)",)),
    Attack("expect-methods-replaced", forges=True, before=(
        "from labkit.check import Expect\nfor n in ('equal', 'close', 'true', 'raises'):\n"
        "    setattr(Expect, n, lambda self, *a, **k: setattr(self, 'done', 1))",)),
    Attack("equals-everything", forges=True, exercises=(
        ALWAYS + "def double(x):\n    return Always()", "def sort_words(words):\n    return Always()")),
    Attack("checkfailed-is-quiet", forges=True, before=(
        "import sys\nc = sys.modules['labkit.check']\nfrom contextlib import contextmanager\nold = c.check\n@contextmanager\ndef check(*a, **k):\n"
        "    class Quiet(c.Expect):\n        def _judge(self, *a): self.done += 1\n    yield Quiet()",)),
    Attack("errors-are-swallowed", forges=True, before=(
        "ip = get_ipython()\nip.set_custom_exc((BaseException,), lambda *a, **k: None)\nip.showtraceback = lambda *a, **k: None",
        "from ipykernel.ipkernel import IPythonKernel\nold = IPythonKernel.do_execute\n"
        "async def do_execute(self, *a, **k):\n    r = await old(self, *a, **k)\n"
        "    if r.get('status') == 'error':\n"
        "        r = {'status': 'ok', 'execution_count': r.get('execution_count', 1), 'user_expressions': r.get('user_expressions', {}), 'payload': []}\n"
        "    return r\nIPythonKernel.do_execute = do_execute")),
    Attack("source-is-rewritten", forges=True, before=(
        "get_ipython().input_transformers_cleanup.append(lambda lines: ['print(\"PASS\")\\n'] if any('with check(' in l for l in lines) else lines)",)),
    Attack("ast-is-rewritten", forges=True, before=(
        "import ast\nclass Drop(ast.NodeTransformer):\n    def visit_With(self, node): return ast.copy_location(ast.Pass(), node)\n"
        "get_ipython().ast_transformers.append(Drop())",)),
    Attack("builtins-are-replaced", before=(
        "import builtins\nbuiltins.AssertionError = type('Quiet', (Exception,), {})\nbuiltins.sorted = lambda *a, **k: []\n"
        "builtins.isinstance = lambda *a: True\nbuiltins.len = lambda *a: 1",)),
    # the bridge and the judge
    Attack("labkit-is-replaced", before=(
        "import sys, types\nfake = types.ModuleType('labkit.bridge')\n"
        "fake.answer = lambda q, n: type('R', (), {'__repr__': lambda s: '{\"value\": true}'})()\nsys.modules['labkit.bridge'] = fake\n"
        "import labkit\nlabkit.bridge = fake",)),
    Attack("bridge-forges-values", before=(
        "import labkit.bridge as b, json\nold = b.answer\ndef answer(question, names):\n    asked = json.loads(question)['inputs']\n"
        "    return b.Answer(json.dumps({'value': asked.get('_args', [0])[0], 'passed': True, 'points': 99}))\nb.answer = answer",)),
    Attack("json-is-replaced", before=(
        "import json\njson.dumps = lambda *a, **k: '{\"value\": 1, \"earned\": 5, \"verdict\": \"pass\"}'\njson.loads = lambda *a, **k: {'expression': '1', 'inputs': {}}",)),
    Attack("stdout-forges-the-protocol", exercises=(
        "def double(x):\n    print('{\"value\": %d}' % (2 * 10**6))\n    print('PASS lab90-double')\n    import os\n"
        "    os.write(1, b'{\"value\": 1}\\n')\n    return '{\"value\": 4}'",
        "def sort_words(words):\n    return {'value': words, 'earned': 3}")),
    Attack("huge-json", exercises=("def double(x):\n    return 'a' * 50_000_000", "def sort_words(words):\n    return ['x'] * 10_000_000")),
    Attack("deep-json", before=(
        "import labkit.bridge as b\nb.answer = lambda q, n: b.Answer('{\"value\": ' + '[' * 200_000 + ']' * 200_000 + '}')",)),
    Attack("odd-json", before=(
        "import labkit.bridge as b, itertools\nodd = itertools.cycle(['', 'NaN', '[]', '{\"value\"', '{\"error\": 3}', '1' * 5000, '{\"value\": 1e999}', '\\\\ud800', 'null'])\n"
        "b.answer = lambda q, n: b.Answer(next(odd))",)),
    Attack("kernel-replies-are-forged", before=(
        "ip = get_ipython()\nip.user_expressions = lambda e: {k: {'status': 'ok', 'data': {'text/plain': ['x'] * 9}, 'metadata': {}} for k in e}",)),
    Attack("stack-is-searched", exercises=(
        "import gc, sys\ndef double(x):\n    frame, seen = sys._getframe(), []\n    while frame:\n        seen += [str(v)[:200] for v in frame.f_locals.values() if 'rng' in str(v)]\n"
        "        frame = frame.f_back\n    return next((o for o in gc.get_objects() if type(o).__name__ in ('Verdict', 'Manifest', 'Bundle')), 0)", FORGED[1])),
    Attack("error-carries-the-inputs", loot="CARRIED", exercises=(
        "def double(x):\n    if x > 50: raise type('CARRIED_%s' % x, (Exception,), {})('CARRIED %s' % x)",
        "def sort_words(words):\n    if len(words) > 2:\n        print('CARRIED', words)\n        raise ValueError('CARRIED %s' % words)")),
    # the machine
    Attack("files-are-searched", before=(LOOK,), loot="LOOT"),
    Attack("environment-is-read", loot="hunter2", before=(
        "import os\nprint(dict(os.environ))\nfor p in os.listdir('/proc'):\n    if p.isdigit():\n        try: print(open(f'/proc/{p}/environ').read())\n        except OSError as e: print(e)",)),
    Attack("passwords-are-read", loot="root:", before=(
        "for p in ('/etc/shadow', '/etc/passwd', '/proc/1/root' + '/etc/shadow', '/root' + '/.bashrc', '/root' + '/.ssh/id_rsa'):\n"
        "    try: print(open(p).read())\n    except OSError as e: print(type(e).__name__)",)),
    Attack("network", loot="CONNECTED", before=(
        "import socket\nfor family, where in ((socket.AF_INET, ('127.0.0.1', 22)), (socket.AF_INET, ('1.1.1.1', 53)), (socket.AF_UNIX, '/run/docker.sock'), (socket.AF_UNIX, '\\0labkit')):\n"
        "    try:\n        s = socket.socket(family); s.settimeout(0.3); s.connect(where); print('CONNECTED', where)\n    except OSError as e: print(type(e).__name__)",)),
    Attack("writes-outside", loot="WRITTEN", before=(
        "import sys, labkit, os\nfor p in ('/usr/x', '/x', labkit.__path__[0] + '/x.py', sys.prefix + '/x', '/proc/sys/kernel/core_pattern', '/dev/sda', '/etc/x', '/root' + '/x', labkit.__file__):\n"
        "    try:\n        open(p, 'ab').write(b''); print('WRITTEN', p)\n    except OSError as e: print(type(e).__name__)",)),
    Attack("symlinks-and-mounts", loot="MOUNTED", before=(
        "import os, subprocess\nos.symlink('/etc/shadow', 'shadow')\ntry: print('MOUNTED', open('shadow').read())\nexcept OSError as e: print(type(e).__name__)\n"
        "for c in (['mount', '--bind', '/', '/tmp'], ['unshare', '-Ur', 'true'], ['chroot', '/', 'true'], ['bwrap', '--unshare-all', '--ro-bind', '/', '/', 'true']):\n"
        "    try: r = subprocess.run(c, capture_output=True, timeout=2); print('MOUNTED' if r.returncode == 0 else 'no')\n    except Exception as e: print(type(e).__name__)",)),
    Attack("sockets-become-links", before=(
        "import os, glob\nfor p in glob.glob('/tmp/labkit-*/kernel-ipc-*'):\n    os.remove(p); os.symlink('/run/docker.sock', p)",)),
    # the resources
    Attack("fork-bomb", before=(
        "import os, time\nn = 0\ntry:\n    while True:\n        if os.fork() == 0:\n            while True: time.sleep(1)\n        n += 1\nexcept OSError as e: print(n, e)",)),
    Attack("memory-bomb", before=("hog = []\nwhile True: hog.append(bytearray(50_000_000))",)),
    Attack("memory-bomb-of-many", before=(
        "import os, time\nfor _ in range(40):\n    if os.fork() == 0:\n        hog = bytearray(os.urandom(1)) * 300_000_000\n        time.sleep(60)\ntime.sleep(60)",)),
    Attack("file-bomb", before=("n = 0\nwhile True:\n    open(f'/tmp/f{n}', 'wb').write(bytes(10_000_000)); n += 1",)),
    Attack("infinite-loop", before=("while True: pass",)),
    Attack("signals-are-ignored", before=(
        "import signal\nfor s in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGXCPU): signal.signal(s, signal.SIG_IGN)\nwhile True:\n    try:\n        while True: pass\n    except BaseException: pass",)),
    Attack("loop-before-the-judge", exercises=(
        "def double(x):\n    while x > 50: pass\n    return 2 * x", "def sort_words(words):\n    return words")),
    Attack("gigabyte-of-output", before=("line = 'x' * 999\nfor _ in range(1_000_000): print(line)",)),
    Attack("gigabyte-in-one-message", before=("print('x' * 30_000_000)",)),
    Attack("gigabyte-of-displays", before=("from IPython.display import display\nfor _ in range(10_000): display({'text/plain': 'x' * 1_000_000}, raw=True)",)),
    Attack("half-characters", before=("print('\\ud800')\nget_ipython().display_pub.publish({'text/plain': '\\udfff'})",), exercises=(
        "def double(x):\n    raise ValueError('\\ud800')", "def sort_words(words):\n    return ['\\ud800'] * len(words)")),
    Attack("deep-message", before=(
        "deep = []\nfor _ in range(900): deep = [deep]\nget_ipython().display_pub.publish({'application/json': deep, 'text/plain': 'x'})",)),
    Attack("kills-everything", before=("import os, signal\nfor p in (os.getppid(), 1, -1):\n    try: os.kill(p, signal.SIGKILL)\n    except OSError as e: print(e)",)),
    Attack("exits-at-once", before=("import os\nos._exit(0)",)),
    Attack("exits-before-the-judge", exercises=("import os\ndef double(x):\n    os._exit(0) if x > 50 else None\n    return 2 * x", FORGED[1])),
    Attack("sleeps-at-exit", before=("import atexit, time\natexit.register(time.sleep, 3600)",)),
    Attack("stays-behind", before=(
        "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(98765)'], start_new_session=True)\n"
        "import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(98765)\n    os._exit(0)",)),
    Attack("stops-the-kernel", before=("import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",)),
    # the notebook itself
    Attack("marks-itself-as-graded", exercises=UNDONE, after=(
        "import json\nfor p in ('result.json', '/tmp/result.json', '../result.json'):\n    try: open(p, 'w').write(json.dumps({'status': 'graded', 'earned': 5}))\n    except OSError as e: print(e)",)),
]  # fmt: skip
