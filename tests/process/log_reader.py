"""log_reader.py DIR: its logs' events as JSON lines; damage: stderr, exit 1. From docs/formats alone, and zstd."""
import functools, hashlib, json, pathlib, struct, subprocess, sys
TYPES = """- NodeStarted NodeStopped JobSubmitted JobRejected JobOffered JobStarted JobFinished JobReleased JobLost
    AttemptOpened JobEnded JobCancelRequested SwitchSet NodeHealth Observation DigestTaken
    WriterRetired PolicyLoaded LevelRaised ForkSeen ForkResolved""".split()
TABLE = [functools.reduce(lambda c, _: c >> 1 ^ c % 2 * 0x82F63B78, range(8), c) for c in range(256)]
def crc(data): return ~functools.reduce(lambda c, b: c >> 8 ^ TABLE[c & 255 ^ b], data, 2**32 - 1) % 2**32
def plain(p): return p.read_bytes() if p.suffix == ".rlog" else subprocess.check_output(["zstd", "-dcq", p])
def get(form, data, at): return struct.unpack_from("<" + form, data, at)
def text(job): return "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[job >> s & 31] for s in range(125, -1, -5))
def field(form, data, table, number):  # of a FlatBuffer; "ref": where it leads to; absent: a struct.error
    vtable = data[table - get("i", data, table)[0]:]
    at = table + (get("H", vtable[:get("H", vtable, 0)[0]], 4 + 2 * number)[0] or len(data))
    return at + get("I", data, at)[0] if form == "ref" else get(form, data, at)[0]
def show(writer, seq, data, at):  # prints the event of the frame at `at`, returns where the frame ends
    size, kind, root = get("IH2xI", data, at)
    hlc, payload = field("Q", data, at + 8 + root, 0), field("ref", data, at + 8 + root, 2)
    event = dict(writer=writer, seq=seq, hlc=hlc, time_ms=hlc >> 16, type=(TYPES[kind:] or [str(kind)])[0])
    if kind in (3, *range(5, 13)):
        event["job"] = text(int.from_bytes(get("16s", data, field("ref", data, payload, 0) + 4)[0], "big"))
    print(json.dumps(event | ({"attempt": field("I", data, payload, 1)} if kind in range(5, 12) else {})))
    return at + 8 + size + -size % 8
sys.excepthook = lambda kind, error, trace: print(path, pos[2], error, sep=": ", file=sys.stderr)
for folder in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    path, pos = folder, (0, 0, 0, 0, bytes(32))  # the position: incarnation, segment, end, number, hash
    slots = [p.read_bytes()[at:at + 4096].ljust(12) for p in folder.glob("*.head") for at in (0, 4096)]
    head = max([(), *(get("Q16x3Q32s", s, 88) for s in slots if get("I", s, 8)[0] == crc(s[12:4032]))])
    files = {tuple(map(int, p.name[:21].split("-"))): p for p in sorted(folder.glob("[0-9]*-*.rlog*"), reverse=True)}
    for key, file in sorted(files.items()):
        data = plain(file)[:head[2] if key == head[:2] else 0 if head and key > head[:2] else None]
        if len(data) < 4096 or get("I", data, 200)[0] != crc(data[:200] + data[204:4032]): continue
        due = (b"RVSEG001", 1, 1, folder.name.encode().ljust(48, b"\0"), *key, *pos)
        if get("8sII16x48s2Q32x4Q32s", data, 0) != due: raise ValueError(f"damage here, or {file} is a fork")
        path, uid, pos = file, hashlib.sha256(data[16:96]).digest()[:8], (*key, 4096, *pos[3:])
        while pos[2] + 96 <= len(data):
            _, _, size, count, *_ = found = get("4s3I8sQ24x2I32s", data, pos[2])
            batch, at, seq = data[pos[2]:pos[2] + size], 96, pos[3] + 1
            if found != (b"RVB1", crc(batch[8:96]), size, count, uid, seq, crc(batch[96:]), 0, pos[4]): break
            for seq in range(seq, seq + count): at = show(folder.name, seq, batch, at)
            if at != size: raise ValueError("the frames do not fill the batch")
            pos = (*key, pos[2] + size, seq, hashlib.sha256(batch).digest())
    if head not in ((), pos): raise ValueError(f"damaged here: HEAD names the position {head[:4]}")
