"""More than is held at once: nothing is lost at a bound."""

import json
import unittest

from harness import ClusterCase, wait_for
from test_single import SingleNode

FILES = 600  # more than twice what bulk hands to the loop at once


class Bounds(ClusterCase):
    @classmethod
    def make_cluster(cls, directory):
        return SingleNode.serving(directory)

    def test_many_dropped_files_are_all_taken_in_once(self):
        queue = self.cluster.share / "queue"
        for number in range(FILES):
            path = queue / "incoming" / f".file-{number}"
            path.write_text(json.dumps({"argv": ["/bin/true"], "name": f"dropped-{number}"}))
            path.rename(path.with_name(f"file-{number}.json"))
        wait_for(lambda: self.cluster.json("status")["jobs"].get("succeeded", 0) >= FILES, 120, "all have run")
        log = self.cluster.reeve("log", "export", self.cluster.state("nova"))
        submitted = [line for line in log.splitlines() if '"JobSubmitted"' in line]
        self.assertEqual(len(submitted), FILES)
        for number in (0, FILES // 2, FILES - 1):
            self.assertEqual(sum(f"file-{number}.json" in line for line in submitted), 1)
        wait_for(lambda: not list((queue / "incoming").glob("*.json"))
                 and not list((queue / "ingest" / "nova.worker").glob("*")), 20, "nothing is left behind")


if __name__ == "__main__":
    unittest.main()
