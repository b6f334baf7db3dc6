"""A headless Chromium with one page, told what to do over a pipe (the DevTools protocol: JSON texts that end with a zero byte)."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time

import wire

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --disable-extensions --disable-dev-shm-usage --hide-scrollbars
    --disable-features=Translate,MediaRouter,OptimizationHints --remote-debugging-pipe""".split()


class Browser:
    """`complaints` are what a page must not cause: exceptions, errors on the console, blocked content, requests to elsewhere."""

    def __init__(self, width=1400, height=1000):
        self.directory = tempfile.TemporaryDirectory(prefix="weasel-browser-", ignore_cleanup_errors=True)
        theirs_in, self.out = os.pipe()
        self.inward, theirs_out = os.pipe()
        # The browser reads descriptor 3 and writes 4. Numbers above keep the shell from mixing them up.
        high = [self._move_high(descriptor) for descriptor in (theirs_in, theirs_out)]
        command = f'exec "$@" 3<&{high[0]} 4>&{high[1]} {high[0]}<&- {high[1]}>&-'
        self.process = subprocess.Popen(
            ["bash", "-c", command, "browser", PROGRAM, *FLAGS, f"--user-data-dir={self.directory.name}/profile", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=open(self.directory.name + "/stderr", "wb"),
            pass_fds=high,
            start_new_session=True,
            env={**os.environ, "HOME": self.directory.name},
        )
        for descriptor in high:
            os.close(descriptor)
        self.number, self.session, self.buffer = 0, None, b""
        self.complaints, self.requests, self.origin = [], [], None
        target = next(t for t in self.call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    @staticmethod
    def _move_high(descriptor):
        moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD, 50)
        os.close(descriptor)
        return moved

    # ---- the protocol ----

    def _message(self, end):
        while b"\0" not in self.buffer:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.inward], [], [], left)[0], "the browser does not answer"
            data = os.read(self.inward, 1 << 16)
            assert data, "the browser has ended: " + open(self.directory.name + "/stderr").read()[-2000:]
            self.buffer += data
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + 3 * wire.PATIENCE  # a cold start on a busy machine
        while True:
            answer = self._message(end)
            if answer.get("id") == self.number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer.get("method"), answer.get("params", {}))

    def _note(self, event, what):
        if event == "Runtime.exceptionThrown":
            details = what["exceptionDetails"]
            self.complaints.append(details.get("exception", {}).get("description") or details["text"])
        elif event == "Log.entryAdded" and what["entry"]["level"] == "error":
            entry = what["entry"]
            # That a server which is down cannot be reached is told too; it is what some tests are about.
            if not (entry["source"] == "network" and entry.get("url", "").endswith("/metrics")):
                self.complaints.append(f"{entry['text']} {entry.get('url', '')}")
        elif event == "Network.requestWillBeSent":
            url = what["request"]["url"]
            self.requests.append(url)
            if self.origin and not url.startswith((self.origin + "/", "data:")):
                self.complaints.append(f"it asks elsewhere: {url}")

    # ---- what a person does ----

    def open(self, address, path="/"):
        self.origin = f"http://{address[0]}:{address[1]}"
        self.call("Page.navigate", url=self.origin + path)
        self.wait_for("document.readyState === 'complete'")

    def evaluate(self, script):
        result = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def wait_for(self, script):
        return wire.wait_for(lambda: self.evaluate(script), lambda: f"{script}: {self.evaluate('document.body.innerText')[:1500]}")

    def text(self, element_id):
        return self.evaluate(f"document.getElementById('{element_id}').innerText")

    def resize(self, width, height):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme):
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(data))

    # ---- the end ----

    def close(self):
        os.close(self.out)  # the browser goes when its pipe does
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # with all that it has started
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self.inward)
        self.directory.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
