# Prints the mail on the standard input as JSON, as Python's email package reads it.
import email, email.policy, json, sys

m = email.message_from_binary_file(sys.stdin.buffer, policy=email.policy.default)
sender = m["From"].addresses
json.dump({
    "headers": sorted(name for name in m.keys() if name != "Received"),
    "subject": m["Subject"],
    "from": [[one.display_name, one.addr_spec] for one in sender],
    "to": [one.addr_spec for one in m["To"].addresses],
    "date": m["Date"].datetime.isoformat(),
    "id": m["Message-ID"],
    "auto": m["Auto-Submitted"],
    "received": m["Received"],
    "type": m.get_content_type(),
    "parts": [[one.get_content_type(), one.get_content_charset(), one.get_content()] for one in m.iter_parts()],
    "defects": [repr(d) for one in m.walk() for d in [*one.defects, *(d for h in one.values() for d in h.defects)]],
}, sys.stdout)
