# Slack's own SDK as the sender of clicks, and Bolt as another receiver of the same.
#
# Usage: SIGNING_SECRET=… python slack.py URL. Reads one JSON object a line: {"payload": …, and optionally "age" in
# seconds, "secret" to sign with, "alter": [what, into what] in the body after it was signed, "again": true for the
# last one as it was}. Prints what our control plane, the SDK's verifier and Bolt say.
import json
import os
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

from slack_bolt import App, BoltRequest
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.signature import SignatureVerifier

url, secret = sys.argv[1], os.environ["SIGNING_SECRET"]
verifier = SignatureVerifier(secret)


def authorize(team_id, **_):
    return AuthorizeResult(enterprise_id=None, team_id=team_id, bot_token="xoxb-test", bot_user_id="U0", bot_id="B0")


bolt = App(signing_secret=secret, authorize=authorize, process_before_response=True)
for action in ["countersign.approve", "countersign.deny"]:
    bolt.action(action)(lambda ack: ack())
bolt.view("countersign.reason")(lambda ack: ack())


def post(body, headers):
    request = urllib.request.Request(url, body.encode(), headers)
    try:
        return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request).status
    except urllib.error.HTTPError as error:
        return error.code


def signed(wish):
    body = urllib.parse.urlencode({"payload": json.dumps(wish["payload"])})
    timestamp = str(int(time.time()) - wish.get("age", 0))
    signer = SignatureVerifier(wish.get("secret", secret))
    headers = {
        "content-type": "application/x-www-form-urlencoded",
        "x-slack-request-timestamp": timestamp,
        "x-slack-signature": signer.generate_signature(timestamp=timestamp, body=body),
    }
    altered = body.replace(*wish["alter"]) if "alter" in wish else body
    assert ("alter" in wish) == (altered != body)
    return altered, headers


for line in sys.stdin:
    wish = json.loads(line)
    if not wish.get("again"):
        body, headers = signed(wish)
    lists = {name: [value] for name, value in headers.items()}
    said = {
        "ours": post(body, headers),
        "sdk": verifier.is_valid_request(body, headers),
        "bolt": bolt.dispatch(BoltRequest(body=body, headers=lists)).status,
    }
    print(json.dumps(said), flush=True)
