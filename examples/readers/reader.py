"""Follows a store across resets, and prints each event once: python3 reader.py <store URL> [token]"""
import http.client, json, sys, time, urllib.error, urllib.parse, urllib.request

store, token = (sys.argv[1:] + [""])[:2]


def read(url, **query):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"{url}?{urllib.parse.urlencode(query)}", headers=headers)
    with urllib.request.urlopen(request, timeout=90) as answer:
        return answer.headers, json.loads(answer.read() or "[]")


address, query = store, {"offset": "-1"}
while True:
    try:
        headers, messages = read(address, **query)
    except urllib.error.HTTPError as error:
        if error.code in (404, 410) and address != store:  # this log is gone
            print("--- the store was reset, and its new log begins", flush=True)
            address, query = store, {"offset": "-1"}
        elif error.code in (429, 500, 502, 503):
            time.sleep(float(error.headers.get("Retry-After", 1)))
        else:
            raise
        continue
    except (OSError, http.client.HTTPException, ValueError):  # no answer, or half of one: nothing of it was printed
        time.sleep(1)
        continue
    for message in messages:
        if "livestore" not in message:  # the header of the log is no event
            print(json.dumps(message), flush=True)
    # From now on at the address of this log, where no other log can answer
    address = urllib.parse.urljoin(store, headers.get("Content-Location", address))
    query = {"offset": headers["Stream-Next-Offset"]}
    if "Stream-Closed" in headers or address == store:
        time.sleep(1)  # archived, or there is no log yet
    elif "Stream-Up-To-Date" in headers:
        query["live"] = "long-poll"
        if "Stream-Cursor" in headers:
            query["cursor"] = headers["Stream-Cursor"]
