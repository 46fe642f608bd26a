#!/usr/bin/env python3
"""Checks an AgentGuard bundle, format agentguard-bundle/1, as docs/verify.md describes it.

Written from that description alone, with Python's standard library and the `openssl` command, so that two programs
without common code agree. Checks lines, indexes, leaves, columns, payloads, policies, the root, its signature and the
cosignatures of witnesses, kill switches, and the rules of decisions that agents made by themselves; not what else must
hold between entries, and no replay: whether a decision follows from its policies, the agent, the time and what the
request carried is for `agentguard replay`. The verdict says how many decisions that leaves open.

    verify.py <bundle> [--key <vkey or file>]... [--witness <vkey or file>]... [--quorum <n>] [--json]

Exit code 0 when all is well, 1 when something was found, 2 when the bundle cannot be read.
"""

import argparse
import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import unicodedata
from datetime import datetime

FORMAT = "agentguard-bundle/1"
MOST_FINDINGS = 20
# SubjectPublicKeyInfo of an Ed25519 key without the key (RFC 8410).
SPKI_ED25519 = bytes.fromhex("302a300506032b6570032100")


def sha256(data):
    return hashlib.sha256(data).digest()


def b64(text, length=None):
    """Strict base64: one spelling for one value. None when it is not that."""
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        return None
    if base64.b64encode(data).decode() != text or (length is not None and len(data) != length):
        return None
    return data


class Tree:
    """The right edge of a tree that grows: complete subtrees as (number of leaves, hash), largest first."""

    def __init__(self, size=0, edge=()):
        self.size = size
        self.edge = []
        hashes = list(edge)
        for bit in reversed(range(size.bit_length())):
            if size >> bit & 1:
                if not hashes:
                    raise ValueError("too few hashes")
                self.edge.append((1 << bit, hashes.pop(0)))
        if hashes:
            raise ValueError("too many hashes")

    def append(self, leaf):
        width, digest = 1, leaf
        while self.edge and self.edge[-1][0] == width:
            digest = sha256(b"\x01" + self.edge.pop()[1] + digest)
            width *= 2
        self.edge.append((width, digest))
        self.size += 1

    def root(self):
        if not self.edge:
            return sha256(b"")
        digest = self.edge[-1][1]
        for _, left in reversed(self.edge[:-1]):
            digest = sha256(b"\x01" + left + digest)
        return digest


SIGNS, COSIGNS = 1, 4


class Key:
    """A verifier key `<name>+<id>+<base64(type and public key)>`: Ed25519 of a log, or of a witness."""

    def __init__(self, text, kind=SIGNS):
        match = re.fullmatch(r"([^+\s]+)\+([0-9a-f]{8})\+(.+)", text.strip())
        data = b64(match.group(3), 33) if match else None
        if data is None or data[0] != kind:
            raise ValueError("not an Ed25519 verifier key of a %s: %s"
                             % ("log" if kind == SIGNS else "witness", text.strip()[:80]))
        self.name, self.public = match.group(1), data[1:]
        self.id = sha256(self.name.encode() + b"\n" + data)[:4]
        if self.id.hex() != match.group(2):
            raise ValueError("the id of the verifier key is not that of its key")


def openssl_verifies(public, message, signature):
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name) for name in ("key.der", "message", "signature")]
        for path, data in zip(paths, (SPKI_ED25519 + public, message, signature)):
            with open(path, "wb") as file:
                file.write(data)
        command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", paths[0],
                   "-rawin", "-in", paths[1], "-sigfile", paths[2]]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def open_checkpoint(note, origin, keys, witnesses=(), quorum=0):
    """(size, root, names of signers); raises ValueError for one that is not to be believed.

    A witness signs, and states, the time at which it saw the text (C2SP tlog-cosignature): eight bytes before the
    signature. Several names of one key are one witness.
    """
    body, separator, lines = note.rpartition("\n\n")
    text = body + "\n"
    parts = text.split("\n")
    if not separator or len(parts) < 4 or not lines.endswith("\n"):
        raise ValueError("the checkpoint is not a signed note")
    root = b64(parts[2], 32)
    if parts[0] != origin or not re.fullmatch(r"0|[1-9]\d{0,15}", parts[1]) or root is None:
        raise ValueError("the checkpoint is not one of the log " + origin)
    signers = []
    seen_by = {}
    for line in lines.split("\n")[:-1]:
        match = re.fullmatch("\u2014 (\\S+) (\\S+)", line)
        data = b64(match.group(2)) if match else None
        if data is None or len(data) < 5:
            raise ValueError("a signature line of the checkpoint cannot be read")
        for key in keys:
            if key.name == match.group(1) and key.id == data[:4]:
                if len(data) != 68 or not openssl_verifies(key.public, text.encode(), data[4:]):
                    raise ValueError("the signature of " + key.name + " does not verify")
                signers.append(key.name)
        for witness in witnesses:
            if witness.name == match.group(1) and witness.id == data[:4]:
                when = int.from_bytes(data[4:12], "big")
                seen = ("cosignature/v1\ntime %d\n" % when + text).encode()
                if len(data) != 76 or not openssl_verifies(witness.public, seen, data[12:]):
                    raise ValueError("the cosignature of " + witness.name + " does not verify")
                seen_by[witness.public] = witness.name
    if not signers:
        raise ValueError("no known key has signed the checkpoint")
    if len(seen_by) < quorum:
        raise ValueError("%d of %d witnesses have cosigned" % (len(seen_by), quorum))
    return int(parts[1]), root, sorted(set(signers)) + sorted(seen_by.values())


def canonical(value):
    """RFC 8785 for what entries hold: names sorted by UTF-16 units, integers only, minimal escapes."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(canonical(name) + ":" + canonical(value[name]) for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(canonical, value)) + "]"
    if isinstance(value, float):
        raise ValueError("entries hold integers only")
    return json.dumps(value, ensure_ascii=False)


def columns_of(entry):
    report = entry.get("report") or {}
    decision = entry.get("decision")
    return {
        "id": entry.get("id"),
        "ts": entry.get("ts"),
        "type": entry.get("type"),
        "agent_id": (entry.get("subject") or {}).get("agent_id"),
        "action_key": (entry.get("action") or {}).get("key"),
        "allowed": decision.get("effect") == "allow" if decision is not None else report.get("allowed"),
        "decision_id": report.get("decision_id", (entry.get("approval") or {}).get("decision_id") if entry["type"] == "approval" else None),
    }


LETTER, OTHER, SEPARATOR, REFUSED = "letter", "wildcard", "separator", "refused"
MOST_CHARACTERS = 256


def kind_of(char):
    """What a character of an action is: docs/kill-switch.md, and the reading of actions that every rule uses."""
    if char.isascii() and char.isalnum():
        return LETTER
    if char in "*?[]":
        return OTHER
    plain = char.isascii() and (char.isprintable() or char in "\t\n\v\f\r")
    return SEPARATOR if plain else REFUSED


def starts_word(text, i):
    """Whether a capital begins a word: `readPDFFile` is read, pdf, file."""
    before, after = text[i - 1:i] if i else "", text[i + 1:i + 2]
    return text[i].isupper() and (before.islower() or (before.isupper() and after.islower()))


class Action:
    """An action as deny rules read it: its letters, and where among them a word may end or begin."""

    def __init__(self, raw):
        text = unicodedata.normalize("NFKC", raw)
        kinds = [kind_of(char) for char in text]
        if len(raw) > MOST_CHARACTERS or REFUSED in kinds or OTHER in kinds:
            raise ValueError("an action that cannot be read")
        words, inside = 0, False
        mixed = text != text.lower() and text != text.upper()
        self.letters, bounds = "", {0}
        for i, char in enumerate(text):
            if kinds[i] == SEPARATOR:
                inside = False
                bounds.add(len(self.letters))
                continue
            if not inside or starts_word(text, i):
                words += 1
            inside = True
            if mixed and char.isupper():
                bounds |= {len(self.letters), len(self.letters) + 1}
            self.letters += char.lower()
        if not words or len(self.letters) + words - 1 > MOST_CHARACTERS:
            raise ValueError("an action that cannot be read")
        self.single = words == 1
        self.bounds = set(range(len(self.letters) + 1)) if self.single else bounds | {len(self.letters)}


GAP, RUN, ONE = "gap", "run", "one"


def read_pattern(source):
    """The pattern of a rule: characters, sets of them as (negated, members), and GAP, RUN (`*`) and ONE (`?`)."""
    text = unicodedata.normalize("NFKC", source)
    kinds = [kind_of(char) for char in text]
    if len(source) > MOST_CHARACTERS or len(text) > MOST_CHARACTERS or REFUSED in kinds:
        raise ValueError("a pattern that cannot be read")
    tokens = []

    def push(token):
        if token not in (GAP, RUN) or tokens[-1:] != [token]:
            tokens.append(token)

    i = 0
    while i < len(text):
        char = text[i].lower()
        if char == "[":
            end = text.index("]", i)
            negated = text[i + 1] == "!"
            members = read_set(text[i + (2 if negated else 1):end].lower())
            if any(kind_of(chr(code)) == SEPARATOR for code in members if code < 128):
                members |= {ord(":"), ord("_")}
            tokens.append((negated, members))
            i = end
        elif char == "]":
            raise ValueError("a pattern that cannot be read")
        elif kinds[i] == SEPARATOR:
            if tokens:
                push(GAP)
        else:
            if starts_word(text, i):
                push(GAP)
            push({"*": RUN, "?": ONE}.get(char, char))
        i += 1
    if tokens[-1:] == [GAP]:
        tokens.pop()
    piece = []
    inner = [[]]
    for token in tokens:
        inner.append([]) if token == RUN else inner[-1].append(token)
    for piece in inner[1:-1]:
        if len(piece) > 64 and any(token == ONE or isinstance(token, tuple) for token in piece):
            raise ValueError("a pattern that cannot be read")
    if not tokens:
        raise ValueError("a pattern that cannot be read")
    return tokens


def read_set(text):
    members, i = set(), 0
    while i < len(text):
        upto = i + 2 if text[i + 1:i + 2] == "-" and i + 2 < len(text) else i
        if text[upto] < text[i]:
            raise ValueError("a range runs backwards")
        members |= set(range(ord(text[i]), ord(text[upto]) + 1))
        i = upto + 1
    if not members:
        raise ValueError("an empty set")
    return members


def accepts(token, char):
    if isinstance(token, tuple):
        return (ord(char) in token[1]) != token[0]
    return token == ONE or token == char


def begins(tokens, letters, bounds):
    """Whether the tokens are a beginning of the letters that ends at a bound: all ways at once, one letter at a time."""

    def closed(places, through):
        places = set(places)
        for place in range(len(tokens)):
            if place in places and tokens[place] in through:
                places.add(place + 1)
        return places

    now = {0}
    for i in range(len(letters) + 1):
        now = closed(now, (RUN,))
        if i in bounds:
            # `?` and a set may stand for the separator of two words, which has no letter.
            across = {place + 1 for place in now if 0 < i and place < len(tokens)
                      and tokens[place] not in (RUN, GAP) and (accepts(tokens[place], ":") or accepts(tokens[place], "_"))}
            now = closed(now, (RUN, GAP))
            if len(tokens) in now:
                return True
            now = closed(now | across, (RUN,))
        if i < len(letters):
            now = {place if tokens[place] == RUN else place + 1 for place in now if place < len(tokens)
                   and tokens[place] != GAP and (tokens[place] == RUN or accepts(tokens[place], letters[i]))}
    return False


def covers_action(pattern, raw):
    """As widely as a deny rule; a pattern or an action that cannot be read is covered."""
    try:
        tokens, action = read_pattern(pattern), Action(raw)
    except (ValueError, IndexError):
        return True
    beside = [token for i, token in enumerate(tokens)
              if token != GAP or tokens[i - 1] == RUN or tokens[i + 1] == RUN]
    if begins(beside, action.letters, action.bounds):
        return True
    if GAP not in tokens:
        return False
    verb = tokens[:tokens.index(GAP)]
    literal = all(isinstance(token, str) and token not in (RUN, ONE) for token in verb)
    return (action.single or literal) and begins(verb, action.letters, {len(action.letters)})


def covers(kill, entry):
    """Whether a kill switch stops this decision."""
    scope, target, subject = kill["scope"], kill.get("target"), entry["subject"]
    if scope == "action":
        return covers_action(target, entry["action"].get("raw", entry["action"]["key"]))
    return target == {"installation": None, "organization": None, "environment": subject.get("environment"),
                      "team": subject.get("team"), "agent": subject.get("agent_id"),
                      "key": entry["actor"].get("key_id")}[scope]


def seconds(text):
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class LocalRules:
    """What holds of decisions that agents made by themselves (docs/local-decisions.md): their entries come later, so
    the question is not where they stand in the log, but what was known when the agent was given its bundle."""

    LEASE, TOLERANCE = 60, 10

    def __init__(self, whole):
        self.whole = whole
        self.kills = []  # [kill, entry that began it, entry that ended it]
        self.inactive = {}  # agent, "" for the organization -> [[began, ended]]
        self.revoked = {}
        self.policies = {}  # id -> [(version, sha256, entry)]
        self.owned = {}  # (scope, whose) -> id
        self.spools = {}

    def record(self, entry, after):
        kill, change = entry.get("kill"), entry.get("change") or {}
        if entry["type"] == "kill":
            active = [span for span in self.kills if span[0]["id"] == kill["id"] and span[2] is None]
            if kill["op"] == "deactivated":
                for span in active:
                    span[2] = entry
            elif not active:
                self.kills.append([kill, entry, None])
        elif change.get("kind") == "key" and change["op"] == "revoked":
            self.revoked.setdefault(change["id"], entry)
        elif change.get("kind") == "policy":
            self.record_policy(entry, change)
        elif entry["event"] == "agent.deleted":
            self.record_active(entry, change["id"], False)
        elif entry["event"] in ("agent.updated", "organization.updated"):
            name = change["id"] if entry["event"] == "agent.updated" else ""
            self.record_active(entry, name, after.get("is_active") is not False)

    def record_policy(self, entry, change):
        if "version" not in change or "sha256" not in change:
            return
        self.policies.setdefault(change["id"], []).append((change["version"], change["sha256"], entry))
        whose = {"agent": (entry.get("subject") or {}).get("agent_id"), "team": change.get("team"),
                 "organization": ""}.get(change.get("scope"))
        if whose is not None:
            self.owned[change["scope"], whose] = change["id"]

    def record_active(self, entry, name, active):
        spans = self.inactive.setdefault(name, [])
        is_open = bool(spans) and spans[-1][1] is None
        if active and is_open:
            spans[-1][1] = entry
        elif not active and not is_open:
            spans.append([entry, None])

    def findings(self, entry):
        """(kind, detail) of all that is wrong with a local decision."""
        local, subject = entry["local"], entry["subject"]
        spool = subject["agent_id"], local["spool"]
        expected = self.spools.get(spool, 0 if self.whole else local["seq"])
        self.spools[spool] = local["seq"] + 1
        if local["seq"] != expected:
            yield "spool", "decision %d of a spool where %d was expected" % (local["seq"], expected)
        issued, decided, until = (seconds(local[name]) for name in ("issued_at", "decided_at", "lease_until"))
        if not issued <= decided <= until:
            yield "lease", "it was not decided within its lease"
        if decided > seconds(entry["ts"]) + self.TOLERANCE:
            yield "lease", "it was decided after it was recorded"
        if until - issued > self.LEASE:
            yield "lease", "no lease is longer than a minute"
        for policy in entry["policies"]:
            yield from self.stale(local, policy)
        if entry["decision"]["effect"] != "allow":
            return
        revoked = self.revoked.get(entry["actor"].get("key_id"))
        if revoked and self.known(local, revoked):
            yield "revoked", "the agent was given a bundle after its key was revoked"
        spans = self.inactive.get(subject["agent_id"], []) + self.inactive.get("", [])
        if any(self.within(local, began, ended) for began, ended in spans):
            yield "inactive", "the agent was given a bundle though it or its organization was inactive"
        if any(self.within(local, began, ended) and covers(kill, entry) for kill, began, ended in self.kills):
            yield "killed", "the agent was given a bundle though a kill switch had stopped it"
        named = [policy["id"] for policy in entry["policies"]]
        for owner in (("organization", ""), ("team", subject.get("team", "")), ("agent", subject["agent_id"])):
            policy = self.owned.get(owner)
            if policy and policy not in named and self.known(local, self.policies[policy][0][2]):
                yield "policy_stale", "the bundle leaves out the policy " + policy

    def stale(self, local, policy):
        states = self.policies.get(policy["id"], [])
        for i, (version, digest, _) in enumerate(states):
            if version != policy["version"]:
                continue
            if digest != policy["sha256"]:
                yield "policy_stale", "the digest of the policy %s is another" % policy["id"]
            if i + 1 < len(states) and self.known(local, states[i + 1][2]):
                yield "policy_stale", "the policy %s had been replaced" % policy["id"]
            return
        if self.whole:
            yield "policy_stale", "nobody had made this version of the policy " + policy["id"]

    @staticmethod
    def includes(config, of):
        return all(config.get(name, 0) >= of.get(name, 0) for name in ("installation", "organization", "agent"))

    def known(self, local, entry):
        """Whether the bundle was read after this entry: by its versions, or because it was given so much later."""
        return (self.includes(local["config"], entry["config"])
                or seconds(local["issued_at"]) > seconds(entry["ts"]) + self.TOLERANCE)

    def within(self, local, began, ended):
        """Whether it was read after the one, and surely before the other."""
        return self.known(local, began) and (ended is None or (
            not self.includes(local["config"], ended["config"])
            and seconds(local["lease_until"]) + self.TOLERANCE < seconds(ended["ts"])))


def asks_request(document):
    """Whether a rule of a policy looks at what a request carries (docs/policies.md)."""
    try:
        policy = json.loads(document)
        return any("request" in rule.get("conditions", {})
                   for name in ("allow", "deny", "require_approval") for rule in policy.get(name, []))
    except (ValueError, AttributeError, TypeError):
        return True  # whatever it says, nobody has looked


class Verifier:
    def __init__(self, keys, witnesses=(), quorum=0):
        self.given = keys
        self.witnesses = witnesses
        self.quorum = quorum
        self.local = None
        self.keys = list(keys)
        self.findings = []
        self.found = 0
        self.manifest = self.end = self.tree = None
        self.mark = None
        self.met = False
        self.edge = []
        self.begun = False
        self.asking = set()
        self.carried = 0
        self.digests = set()
        self.lost = {}  # index -> agent: payloads that are gone, until an entry records why
        self.gone = set()  # the same for expired entries
        self.expired = 0
        self.kills = {}
        self.entries = self.lines = self.redacted = self.next = 0
        self.decisions = {"allow": 0, "deny": 0, "pending": 0}

    def find(self, kind, index, detail):
        self.found += 1
        if len(self.findings) < MOST_FINDINGS:
            self.findings.append({"kind": kind, "index": index, "line": self.lines, "detail": detail})

    def line(self, raw):
        self.lines += 1
        try:
            value = json.loads(raw.decode("utf-8"))
            if self.end is not None:
                raise ValueError("there are lines after the end")
            if self.manifest is None and value["kind"] != "manifest":
                raise ValueError("a bundle begins with its manifest")
            {"manifest": self.on_manifest, "key": self.on_key, "checkpoint": self.on_checkpoint,
             "edge": self.on_edge, "policy": self.on_policy, "entry": self.on_entry,
             "expired": self.on_expired, "end": self.on_end}[value["kind"]](value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self.find("malformed", self.next if self.manifest else None, "the line cannot be read: %r" % error)

    def on_manifest(self, value):
        if self.manifest is not None or value["format"] != FORMAT:
            raise ValueError("not a manifest of " + FORMAT)
        self.manifest = value
        self.next = value["first"]

    def on_key(self, value):
        if not self.given:
            self.keys.append(Key(value["vkey"]))

    def on_checkpoint(self, value):
        try:
            self.mark = open_checkpoint(value["note"], self.manifest["origin"], self.keys, self.witnesses, self.quorum)
        except ValueError as error:
            self.find("signature", None, str(error))

    def on_edge(self, value):
        self.edge = [b64(text, 32) for text in value["hashes"]]
        if None in self.edge:
            raise ValueError("a hash of the edge is not 32 bytes in base64")

    def begin(self):
        if self.begun:
            return
        self.begun = True
        self.local = LocalRules(self.manifest["first"] == 0)
        try:
            self.tree = Tree(self.manifest["first"], self.edge)
        except ValueError:
            self.tree = None
        self.compare()

    def compare(self):
        if self.tree and self.mark and self.mark[0] == self.tree.size:
            self.met = True
            if self.tree.root() != self.mark[1]:
                self.find("root", None, "the entries before %d do not lead to the signed root" % self.mark[0])

    def on_policy(self, value):
        self.begin()
        if sha256(value["document"].encode()).hex() != value["sha256"]:
            self.find("policy", self.next, "the document is not the one of its digest")
        self.digests.add(value["sha256"])
        if asks_request(value["document"]):
            self.asking.add(value["sha256"])

    def on_entry(self, value):
        self.begin()
        self.entries += 1
        index = value["index"]
        if index != self.next:
            self.find("index", self.next, "entry %d expected, %d found" % (self.next, index))
            self.tree = None
        self.next = index + 1
        leaf = b64(value["leaf"], 32)
        data = value["entry"].encode()
        if sha256(b"\x00" + data) != leaf:
            self.find("entry_changed", index, "the hash of the entry is not its leaf")
        if self.tree is not None and leaf is not None:
            self.tree.append(leaf)
        self.check_entry(index, value)
        self.compare()

    def on_expired(self, value):
        self.begin()
        data = base64.b64decode(value["leaves"], validate=True)
        if not data or len(data) % 32:
            raise ValueError("these are no leaf hashes")
        for at in range(0, len(data), 32):
            if value["from"] + at // 32 != self.next:
                self.find("index", self.next, "entry %d expected" % self.next)
                self.tree = None
            self.gone.add(self.next)
            self.next += 1
            self.expired += 1
            self.local = LocalRules(False)  # what they said is not known any more
            if self.tree is not None:
                self.tree.append(data[at:at + 32])
            self.compare()

    def check_redaction(self, entry):
        said = entry["redaction"]
        inside = range(said["from"], said["upto"] + 1)
        if entry["event"] == "entries.expired":
            self.gone = {index for index in self.gone if index not in inside}
        else:
            self.lost = {index: agent for index, agent in self.lost.items()
                         if index not in inside or said.get("agent_id", agent) != agent}

    def check_entry(self, index, value):
        try:
            entry = json.loads(value["entry"])
            genuine = canonical(entry) == value["entry"] and entry["v"] == 1
            log = re.sub(r"/e[1-9]\d*$", "", entry["log"]) == re.sub(r"/e[1-9]\d*$", "", self.manifest["origin"])
        except (ValueError, KeyError, TypeError):
            genuine, log, entry = False, False, {}
        if not genuine or not log:
            return self.find("entry_invalid", index, "the entry is not a canonical entry of this log")
        for name, stated in columns_of(entry).items():
            if value["columns"][name] != stated:
                self.find("projection", index, "the column %s differs from the entry" % name)
        self.check_payload(index, entry.get("payload"), value.get("payload"))
        if value.get("payload") == {"redacted": True}:
            self.lost[index] = entry.get("subject", {}).get("agent_id")
        if entry["type"] == "redaction":
            self.check_redaction(entry)
        named = [policy["sha256"] for policy in entry.get("policies", [])]
        change = entry.get("change", {})
        if change.get("kind") == "policy" and "sha256" in change:
            named.append(change["sha256"])
        for digest in named:
            if digest not in self.digests:
                self.find("policy", index, "the bundle has no policy with the digest " + digest)
        self.check_kills(index, entry)
        self.check_local(index, entry, value.get("payload") or {})
        if entry["type"] == "decision":
            self.decisions[entry["decision"]["effect"]] += 1
            self.carried += any(digest in self.asking for digest in named)

    def check_kills(self, index, entry):
        """No allow between the activation of a kill switch that covers it and its deactivation."""
        kill = entry.get("kill")
        if entry["type"] == "kill":
            if kill["op"] == "deactivated":
                self.kills.pop(kill["id"], None)
            else:
                self.kills.setdefault(kill["id"], (index, kill))
        elif entry["type"] == "decision" and entry["event"] != "decision.local" and entry["decision"]["effect"] == "allow":
            for since, active in self.kills.values():
                if covers(active, entry):
                    return self.find("killed", index, "allowed, though entry %d had stopped the %s %s"
                                     % (since, active["scope"], active.get("target", "")))
        return None

    def check_local(self, index, entry, payload):
        if entry["event"] == "decision.local":
            for kind, detail in self.local.findings(entry):
                self.find(kind, index, detail)
        elif entry["type"] in ("kill", "config"):
            self.local.record(entry, json.loads(payload.get("text", "{}")).get("after") or {})

    def check_payload(self, index, commitment, part):
        if (commitment is None) != (part is None):
            return self.find("payload", index, "payload and commitment do not go together")
        if part is None:
            return None
        if part == {"redacted": True}:
            self.redacted += 1
            return None
        salt = b64(part["salt"], 32)
        digest = sha256(b"agentguard/payload/v1\x00" + (salt or b"") + part["text"].encode())
        if salt is None or base64.urlsafe_b64encode(digest).decode().rstrip("=") != commitment["c"]:
            self.find("payload", index, "the payload is not the one that the entry commits to")
        return None

    def on_end(self, value):
        self.begin()
        self.end = value
        counted = (self.entries, len(self.digests), self.lines)
        if counted != (value["entries"], value["policies"], value["lines"]):
            self.find("truncated", None, "the line \"end\" counts other lines than there are")

    def verdict(self):
        if self.manifest is None:
            self.find("malformed", None, "there is no manifest")
        elif self.end is None or self.next != self.manifest["end"]:
            self.find("truncated", self.next, "the bundle is cut off")
        if self.manifest is not None and self.manifest.get("size") == self.manifest["end"]:
            if self.lost:
                self.find("unrecorded_erasure", min(self.lost), "the payload is gone, and no entry records why")
            if self.gone:
                self.find("index", min(self.gone), "the entry is gone, and no entry records why")
        if self.mark and not self.met and self.tree:
            self.find("root", self.next, "the checkpoint covers %d entries" % self.mark[0])
        if (self.given or self.quorum) and not self.mark and not any(f["kind"] == "signature" for f in self.findings):
            self.find("signature", None, "the bundle has no checkpoint")
        signed = self.mark and self.met and not any(f["kind"] == "root" for f in self.findings)
        return {
            "valid": self.found == 0,
            "origin": (self.manifest or {}).get("origin"),
            "entries": self.entries,
            "decisions": self.decisions,
            "policies": len(self.digests),
            "redacted": self.redacted,
            "rules": {"checked": False, "decisions": sum(self.decisions.values()), "by_request": self.carried},
            "root": base64.b64encode(self.tree.root()).decode() if self.tree else None,
            "signed": {"size": self.mark[0], "signers": self.mark[2]} if signed else None,
            "keys": "given" if self.given else "bundle" if self.keys else "none",
            "findings": self.findings,
            "more_findings": self.found - len(self.findings),
        }


def read_keys(given, kind=SIGNS):
    keys = []
    for text in given:
        if "+" not in text:
            with open(text, encoding="utf-8") as file:
                text = file.read()
        keys += [Key(line, kind) for line in text.splitlines() if line.strip()]
    return keys


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", help="a file, or - for standard input")
    parser.add_argument("--key", action="append", default=[], help="a verifier key that you trust, or a file of them")
    parser.add_argument("--witness", action="append", default=[], help="a witness's verifier key, or a file of them")
    parser.add_argument("--quorum", type=int, help="how many of the witnesses must have cosigned (1 if any is given)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    try:
        witnesses = read_keys(arguments.witness, COSIGNS)
        distinct = len({witness.public for witness in witnesses})
        quorum = min(1, distinct) if arguments.quorum is None else arguments.quorum
        if quorum > distinct:
            raise ValueError("--quorum %d needs as many witnesses" % quorum)
        verifier = Verifier(read_keys(arguments.key), witnesses, quorum)
        with sys.stdin.buffer if arguments.bundle == "-" else open(arguments.bundle, "rb") as file:
            for raw in file:
                verifier.line(raw[:-1] if raw.endswith(b"\n") else raw)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    verdict = verifier.verdict()
    if arguments.json:
        print(json.dumps(verdict, indent=2))
    else:
        print("Log      %s" % verdict["origin"])
        print("Entries  {entries}: {decisions[allow]} allowed, {decisions[deny]} denied, "
              "{decisions[pending]} pending".format(**verdict))
        print("Rules    not checked: whether {decisions} decisions follow from their policies, {by_request} of them from "
              "policies that look at what requests carry. `agentguard replay` checks that.".format(**verdict["rules"]))
        print("Root     %s" % verdict["root"])
        if verdict["signed"]:
            print("Signed   the first %d entries, by %s" % (verdict["signed"]["size"], ", ".join(verdict["signed"]["signers"])))
        elif verifier.mark is None:
            print("Signed   not checked: the bundle has no checkpoint that is signed by a known key")
        if verdict["signed"] and verdict["keys"] == "bundle":
            print("Note     The key is the bundle's own. Compare it with one you got elsewhere: --key.")
        for finding in verdict["findings"]:
            print("FOUND    {kind} (entry {index}, line {line}): {detail}".format(**finding))
        print("Result   VALID" if verdict["valid"] else "Result   NOT VALID")
    return 0 if verdict["valid"] else 1


if __name__ == "__main__":
    sys.exit(main())
