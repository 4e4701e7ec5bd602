"""Receives what the channels tell: webhooks, checked by the specification's own library, and mails over STARTTLS.

Writes its certificate authority and one of two webhook secrets into the folder that it is given, says where it
listens, and then one line of JSON for each event and each mail.
"""

import base64
import email
import email.policy
import http.server
import json
import os
import ssl
import sys
import threading

import standardwebhooks
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

folder = sys.argv[1]


def say(**what):
    print(json.dumps(what), flush=True)


def secret(name):
    text = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    path = os.path.join(folder, name)
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        file.write(text)
    return text


# As while a secret is being replaced: we know only one of the two that events are signed with.
secret("next.secret")
webhook = standardwebhooks.Webhook(secret("known.secret"))


class Events(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            event = webhook.verify(body, dict(self.headers))
        except standardwebhooks.WebhookVerificationError as error:
            say(step="refused", why=str(error))
            self.send_response(401)
        else:
            say(step="event", id=self.headers["webhook-id"], event=event)
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


class Mails:
    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.original_content, policy=email.policy.default)
        say(
            step="mail",
            to=envelope.rcpt_tos,
            headers={name.lower(): value for name, value in mail.items()},
            text=mail.get_body(("plain",)).get_content(),
            html=mail.get_body(("html",)).get_content(),
            tls=session.ssl is not None,
        )
        return "250 taken"


authority = trustme.CA()
authority.cert_pem.write_to_path(os.path.join(folder, "ca.pem"))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
authority.issue_cert("localhost").configure_cert(context)


class StartTls(Controller):
    def factory(self):
        return SMTP(self.handler, tls_context=context, require_starttls=True, hostname="localhost")


mails = StartTls(Mails(), hostname="127.0.0.1", port=int(sys.argv[2]))
mails.start()
events = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Events)
threading.Thread(target=events.serve_forever, daemon=True).start()
say(step="ready", url=f"http://127.0.0.1:{events.server_port}/")
sys.stdin.read()
