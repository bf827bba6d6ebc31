"""What the official OCI Python SDK does against the stand-in, one scenario a run.

Usage: conformance.py SCENARIO < config.json

The configuration is what `GET /oci/config` answers. A scenario ends with an assertion or an
exception if the stand-in is not what the SDK expects. Links are read with urllib, which knows
nothing of OCI.
"""

import base64
import datetime
import hashlib
import io
import json
import os
import sys
import tempfile
import urllib.error
import urllib.request

import crc32c
import oci
from oci.object_storage import ObjectStorageClient, UploadManager
from oci.object_storage import models

MIB = 1 << 20
CONFIG = json.load(sys.stdin)
NAMESPACE, BUCKET = CONFIG["namespace"], CONFIG["bucket"]


def client(**changes):
    """A client of the stand-in; `changes` spoil its configuration."""
    config = {
        "tenancy": CONFIG["tenancy"],
        "user": CONFIG["user"],
        "fingerprint": CONFIG["fingerprint"],
        "region": CONFIG["region"],
        "key_content": CONFIG["privateKey"],
    }
    return ObjectStorageClient(config | changes, service_endpoint=CONFIG["endpoint"])


STORAGE = client()


def refused(status, code, call, *args, **kwargs):
    """Calls, and asserts that the service refuses so."""
    try:
        call(*args, **kwargs)
    except oci.exceptions.ServiceError as error:
        assert (error.status, error.code) == (status, code), f"{error.status} {error.code}: {error.message}"
        assert error.request_id, "no opc-request-id"
        return error
    raise AssertionError(f"expected {status} {code}, but it succeeded")


def get(url, byte_range=None):
    """Reads a link as a browser would."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={byte_range}"} if byte_range else {})
    with urllib.request.urlopen(request, timeout=30) as response:
        return response.status, dict(response.headers), response.read()


def crc(data):
    return base64.b64encode(crc32c.crc32c(data).to_bytes(4, "big")).decode()


def md5(data):
    return base64.b64encode(hashlib.md5(data).digest()).decode()


def multipart_md5(parts):
    joined = b"".join(hashlib.md5(part).digest() for part in parts)
    return f"{md5(joined)}-{len(parts)}"


def in_an_hour():
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1)


def stored(name):
    return STORAGE.get_object(NAMESPACE, BUCKET, name).data.content


def listing(**kwargs):
    """All objects and prefixes of a listing, page after page."""
    objects, prefixes = [], []
    while True:
        page = STORAGE.list_objects(NAMESPACE, BUCKET, **kwargs).data
        objects += page.objects
        prefixes += page.prefixes
        if not page.next_start_with:
            return objects, prefixes
        kwargs["start"] = page.next_start_with


def upload_file():
    """UploadManager cuts a file into parts, sends three at a time and commits."""
    data = os.urandom(7 * MIB + 12345)
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        manager = UploadManager(STORAGE, allow_parallel_uploads=True, parallel_process_count=3)
        response = manager.upload_file(
            NAMESPACE,
            BUCKET,
            "dir/My file é.bin",
            file.name,
            part_size=2 * MIB,
            content_type="video/mp4",
            content_disposition='attachment; filename="x.mp4"',
            cache_control="no-store",
            metadata={"tj-uid": "42"},
            opc_checksum_algorithm="CRC32C",
        )
    parts = [data[start : start + 2 * MIB] for start in range(0, len(data), 2 * MIB)]
    assert response.headers["opc-multipart-md5"] == multipart_md5(parts)
    assert response.headers["opc-content-crc32c"] == crc(data)
    head = STORAGE.head_object(NAMESPACE, BUCKET, "dir/My file é.bin").headers
    assert head["etag"] == response.headers["etag"]
    assert int(head["content-length"]) == len(data)
    assert head["content-type"] == "video/mp4"
    assert head["content-disposition"] == 'attachment; filename="x.mp4"'
    assert head["cache-control"] == "no-store"
    assert head["opc-meta-tj-uid"] == "42"
    assert head["opc-multipart-md5"] == multipart_md5(parts)
    assert head["opc-content-crc32c"] == crc(data)
    assert "content-md5" not in head
    assert stored("dir/My file é.bin") == data
    assert STORAGE.list_multipart_uploads(NAMESPACE, BUCKET).data == []


def upload_stream():
    """UploadManager reads a stream of unknown length; every part carries its MD5."""
    data = os.urandom(5 * MIB + 1)
    manager = UploadManager(STORAGE, allow_parallel_uploads=True)
    response = manager.upload_stream(NAMESPACE, BUCKET, "stream", io.BytesIO(data), part_size=MIB)
    parts = [data[start : start + MIB] for start in range(0, len(data), MIB)]
    assert response.headers["opc-multipart-md5"] == multipart_md5(parts)
    assert stored("stream") == data


def resume():
    """An upload that lost some of its parts is resumed by what the service lists."""
    data = os.urandom(4 * MIB)
    details = models.CreateMultipartUploadDetails(object="resumed")
    upload = STORAGE.create_multipart_upload(NAMESPACE, BUCKET, details).data
    STORAGE.upload_part(NAMESPACE, BUCKET, "resumed", upload.upload_id, 2, data[MIB : 2 * MIB])
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        UploadManager(STORAGE).resume_upload_file(
            NAMESPACE, BUCKET, "resumed", file.name, upload.upload_id, part_size=MIB
        )
    assert stored("resumed") == data


def single_objects():
    """Objects put at once, read whole and by range, listed and deleted."""
    data = os.urandom(300_000)
    put = STORAGE.put_object(NAMESPACE, BUCKET, "a/one", data, content_md5=md5(data))
    assert put.headers["opc-content-md5"] == md5(data)
    STORAGE.put_object(NAMESPACE, BUCKET, "a/two", io.BytesIO(data), opc_meta={"k": "v"})
    STORAGE.put_object(NAMESPACE, BUCKET, "b", b"")
    put = STORAGE.put_object(
        NAMESPACE, BUCKET, "c", data, opc_checksum_algorithm="SHA256",
        opc_content_sha256=base64.b64encode(hashlib.sha256(data).digest()).decode(),
    )
    assert put.headers["opc-content-sha256"]

    head = STORAGE.head_object(NAMESPACE, BUCKET, "a/two").headers
    assert (head["opc-meta-k"], head["content-md5"]) == ("v", md5(data))
    assert stored("a/one") == data
    assert stored("b") == b""
    part = STORAGE.get_object(NAMESPACE, BUCKET, "a/one", range="bytes=100-199")
    assert (part.status, part.data.content) == (206, data[100:200])
    assert part.headers["content-range"] == "bytes 100-199/300000"
    refused(416, "InvalidRange", STORAGE.get_object, NAMESPACE, BUCKET, "b", range="bytes=5-")
    etag = head["etag"]
    assert STORAGE.get_object(NAMESPACE, BUCKET, "a/two", if_match=etag).data.content == data
    refused(412, "IfMatchFailed", STORAGE.get_object, NAMESPACE, BUCKET, "a/two", if_match="other")

    objects, prefixes = listing(fields="name,size,etag,md5,timeCreated")
    assert ([entry.name for entry in objects], prefixes) == (["a/one", "a/two", "b", "c"], [])
    two = objects[1]
    assert (two.size, two.etag, two.md5) == (len(data), etag, md5(data))
    assert two.time_created.tzinfo is not None
    objects, prefixes = listing(delimiter="/", limit=1)
    assert ([entry.name for entry in objects], prefixes) == (["b", "c"], ["a/"])
    page = STORAGE.list_objects(NAMESPACE, BUCKET, prefix="a/", limit=1).data
    assert ([entry.name for entry in page.objects], page.next_start_with) == (["a/one"], "a/two")
    objects, _ = listing(start="a/two", end="c")
    assert [entry.name for entry in objects] == ["a/two", "b"]

    refused(412, "IfMatchFailed", STORAGE.delete_object, NAMESPACE, BUCKET, "a/two", if_match="other")
    assert STORAGE.delete_object(NAMESPACE, BUCKET, "a/two", if_match=etag).status == 204
    refused(404, "ObjectNotFound", STORAGE.get_object, NAMESPACE, BUCKET, "a/two")
    refused(404, "ObjectNotFound", STORAGE.delete_object, NAMESPACE, BUCKET, "a/two")


def parts_by_hand():
    """Parts out of order, with gaps, replaced, excluded; uploads and parts listed in pages."""
    details = models.CreateMultipartUploadDetails(object="by/hand", metadata={"opc-meta-a": "1"})
    upload = STORAGE.create_multipart_upload(NAMESPACE, BUCKET, details, opc_checksum_algorithm="CRC32C").data
    assert (upload.bucket, upload.object, upload.storage_tier) == (BUCKET, "by/hand", "Standard")
    bodies = {number: os.urandom(1000 + number) for number in (9, 2, 10000, 5)}

    def upload_part(number, body, **kwargs):
        return STORAGE.upload_part(
            NAMESPACE, BUCKET, "by/hand", upload.upload_id, number, body,
            opc_checksum_algorithm="CRC32C", opc_content_crc32c=crc(body), **kwargs,
        ).headers

    first = upload_part(9, b"to be replaced")["etag"]
    etags = {}
    for number, body in bodies.items():
        headers = upload_part(number, body, content_md5=md5(body))
        assert (headers["opc-content-md5"], headers["opc-content-crc32c"]) == (md5(body), crc(body))
        etags[number] = headers["etag"]
    assert etags[9] != first

    parts = oci.pagination.list_call_get_all_results(
        STORAGE.list_multipart_upload_parts, NAMESPACE, BUCKET, "by/hand", upload.upload_id, limit=3
    ).data
    assert [(part.part_number, part.size, part.etag, part.md5) for part in parts] == [
        (number, len(bodies[number]), etags[number], md5(bodies[number])) for number in sorted(bodies)
    ]
    others = [
        STORAGE.create_multipart_upload(
            NAMESPACE, BUCKET, models.CreateMultipartUploadDetails(object=f"other-{n}")
        ).data.upload_id
        for n in range(4)
    ]
    listed = oci.pagination.list_call_get_all_results(
        STORAGE.list_multipart_uploads, NAMESPACE, BUCKET, limit=2
    ).data
    assert {entry.upload_id for entry in listed} == {upload.upload_id, *others}
    for n, other in enumerate(others):
        assert STORAGE.abort_multipart_upload(NAMESPACE, BUCKET, f"other-{n}", other).status == 204

    def commit(chosen, excluded):
        details = models.CommitMultipartUploadDetails(
            parts_to_commit=[
                models.CommitMultipartUploadPartDetails(part_num=number, etag=etag) for number, etag in chosen
            ],
            parts_to_exclude=excluded,
        )
        return STORAGE.commit_multipart_upload(
            NAMESPACE, BUCKET, "by/hand", upload.upload_id, details, if_none_match="*"
        )

    chosen = [(10000, etags[10000]), (2, etags[2]), (9, etags[9])]
    stale = [(10000, etags[10000]), (2, etags[2]), (9, first)]
    refused(400, "InvalidUploadPart", commit, stale, [5])
    refused(400, "InvalidUploadPart", commit, chosen + [(77, "x")], [5])
    refused(400, "InvalidParameter", commit, chosen, [])
    refused(400, "InvalidParameter", commit, chosen, [5, 9])
    refused(400, "InvalidParameter", commit, chosen + chosen[:1], [5])
    refused(400, "InvalidParameter", commit, [], [2, 5, 9, 10000])
    headers = commit(chosen, [5]).headers
    order = [bodies[number] for number in (2, 9, 10000)]
    whole = b"".join(order)
    assert headers["opc-multipart-md5"] == multipart_md5(order)
    assert headers["opc-content-crc32c"] == crc(whole)
    assert stored("by/hand") == whole
    refused(404, "UploadNotFound", commit, chosen, [5])
    assert STORAGE.list_multipart_uploads(NAMESPACE, BUCKET).data == []


def racing_commits():
    """Of two uploads of one name, one can be committed with `if-none-match: *`."""

    def uploaded(body):
        details = models.CreateMultipartUploadDetails(object="raced")
        upload = STORAGE.create_multipart_upload(NAMESPACE, BUCKET, details, if_none_match="*").data.upload_id
        etag = STORAGE.upload_part(NAMESPACE, BUCKET, "raced", upload, 1, body).headers["etag"]
        part = models.CommitMultipartUploadPartDetails(part_num=1, etag=etag)
        return upload, models.CommitMultipartUploadDetails(parts_to_commit=[part])

    (first, commit), (second, late_commit) = uploaded(b"first"), uploaded(b"second")
    call = STORAGE.commit_multipart_upload
    etag = call(NAMESPACE, BUCKET, "raced", first, commit, if_none_match="*").headers["etag"]
    refused(412, "IfNoneMatchFailed", call, NAMESPACE, BUCKET, "raced", second, late_commit, if_none_match="*")
    refused(412, "IfMatchFailed", call, NAMESPACE, BUCKET, "raced", second, late_commit, if_match="other")
    assert stored("raced") == b"first"
    call(NAMESPACE, BUCKET, "raced", second, late_commit, if_match=etag)
    assert stored("raced") == b"second"


def links():
    """A pre-authenticated request: made, listed, read by those who have it, deleted."""
    data = os.urandom(100_000)
    name = "dir/A file é.bin"
    STORAGE.put_object(
        NAMESPACE, BUCKET, name, data, content_type="text/x-test", content_disposition="attachment"
    )
    details = models.CreatePreauthenticatedRequestDetails(
        name="link-1", object_name=name, access_type="ObjectRead", time_expires=in_an_hour()
    )
    par = STORAGE.create_preauthenticated_request(NAMESPACE, BUCKET, details).data
    assert par.full_path == CONFIG["endpoint"] + par.access_uri
    for url in (par.full_path, par.full_path.replace("%2F", "/")):
        status, headers, body = get(url)
        assert (status, body) == (200, data)
        assert headers["content-type"] == "text/x-test"
        assert headers["content-disposition"] == "attachment"
        assert headers["accept-ranges"] == "bytes"
        assert headers["etag"]
    status, headers, body = get(par.full_path, "10-19")
    assert (status, body, headers["content-range"]) == (206, data[10:20], "bytes 10-19/100000")
    try:
        get(par.full_path, "100000-")
        raise AssertionError("a range past the end was answered")
    except urllib.error.HTTPError as error:
        assert (error.code, error.headers["content-range"]) == (416, "bytes */100000")

    for number in range(2, 5):
        details.name, details.object_name = f"link-{number}", f"other-{number}"
        STORAGE.create_preauthenticated_request(NAMESPACE, BUCKET, details)
    listed = oci.pagination.list_call_get_all_results(
        STORAGE.list_preauthenticated_requests, NAMESPACE, BUCKET, limit=1
    ).data
    assert {entry.name for entry in listed} == {f"link-{number}" for number in range(1, 5)}
    raw = STORAGE.list_preauthenticated_requests(NAMESPACE, BUCKET, object_name_prefix="dir/")
    assert [entry.id for entry in raw.data] == [par.id]
    assert not hasattr(raw.data[0], "access_uri")
    found = STORAGE.get_preauthenticated_request(NAMESPACE, BUCKET, par.id).data
    assert (found.name, found.object_name, found.time_expires) == ("link-1", name, par.time_expires)

    assert STORAGE.delete_preauthenticated_request(NAMESPACE, BUCKET, par.id).status == 204
    try:
        get(par.full_path)
        raise AssertionError("a deleted link was answered")
    except urllib.error.HTTPError as error:
        assert (error.code, json.load(error)["code"]) == (404, "BucketNotFound")
    refused(404, "PreauthenticatedRequestNotFound", STORAGE.get_preauthenticated_request, NAMESPACE, BUCKET, par.id)
    details.time_expires = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
    refused(400, "InvalidParameter", STORAGE.create_preauthenticated_request, NAMESPACE, BUCKET, details)


def errors():
    """The refusals that clients act upon."""
    assert STORAGE.get_namespace().data == NAMESPACE
    assert STORAGE.get_bucket(NAMESPACE, BUCKET).data.name == BUCKET
    assert STORAGE.head_bucket(NAMESPACE, BUCKET).status == 200

    other_user = client(user="ocid1.user.oc1..aaaaaaaasomeoneelse")
    refused(401, "NotAuthenticated", other_user.get_namespace)
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    refused(401, "NotAuthenticated", client(key_content=key.decode()).put_object, NAMESPACE, BUCKET, "x", b"x")

    refused(404, "BucketNotFound", STORAGE.get_bucket, NAMESPACE, "missing")
    refused(404, "BucketNotFound", STORAGE.put_object, NAMESPACE, "missing", "x", b"x")
    refused(404, "NamespaceNotFound", STORAGE.get_bucket, "missing", BUCKET)
    # HEAD has no body, so the SDK has no code to report.
    try:
        STORAGE.head_object(NAMESPACE, BUCKET, "missing")
        raise AssertionError("a missing object was found")
    except oci.exceptions.ServiceError as error:
        assert error.status == 404

    STORAGE.put_object(NAMESPACE, BUCKET, "x", b"1", if_none_match="*")
    refused(412, "IfNoneMatchFailed", STORAGE.put_object, NAMESPACE, BUCKET, "x", b"2", if_none_match="*")
    refused(412, "IfMatchFailed", STORAGE.put_object, NAMESPACE, BUCKET, "x", b"2", if_match="other")
    refused(400, "UnmatchedContentMD5", STORAGE.put_object, NAMESPACE, BUCKET, "x", b"2", content_md5=md5(b"3"))
    refused(400, "InvalidContentMD5", STORAGE.put_object, NAMESPACE, BUCKET, "x", b"2", content_md5="foo")
    refused(
        400, "UnmatchedContentCRC32C", STORAGE.put_object, NAMESPACE, BUCKET, "x", b"2",
        opc_checksum_algorithm="CRC32C", opc_content_crc32c=crc(b"3"),
    )
    assert stored("x") == b"1"
    refused(400, "InvalidObjectName", STORAGE.put_object, NAMESPACE, BUCKET, "a\nb", b"2")
    refused(400, "InvalidObjectName", STORAGE.put_object, NAMESPACE, BUCKET, "n" * 1025, b"2")

    details = models.CreateMultipartUploadDetails(object="x")
    refused(
        412, "IfNoneMatchFailed", STORAGE.create_multipart_upload, NAMESPACE, BUCKET, details, if_none_match="*"
    )
    upload = STORAGE.create_multipart_upload(NAMESPACE, BUCKET, details).data.upload_id
    refused(400, "InvalidParameter", STORAGE.upload_part, NAMESPACE, BUCKET, "x", upload, 0, b"2")
    refused(400, "InvalidParameter", STORAGE.upload_part, NAMESPACE, BUCKET, "x", upload, 10001, b"2")
    refused(400, "UnmatchedContentMD5", STORAGE.upload_part, NAMESPACE, BUCKET, "x", upload, 1, b"2", content_md5=md5(b""))
    refused(404, "UploadNotFound", STORAGE.upload_part, NAMESPACE, BUCKET, "x", "no-such-upload", 1, b"2")
    refused(404, "UploadNotFound", STORAGE.upload_part, NAMESPACE, BUCKET, "y", upload, 1, b"2")
    refused(404, "UploadNotFound", STORAGE.abort_multipart_upload, NAMESPACE, BUCKET, "x", "no-such-upload")
    refused(404, "UploadNotFound", STORAGE.list_multipart_upload_parts, NAMESPACE, BUCKET, "x", "no-such-upload")
    assert STORAGE.list_multipart_upload_parts(NAMESPACE, BUCKET, "x", upload).data == []
    details.metadata = {"unprefixed": "1"}
    refused(400, "InvalidParameter", STORAGE.create_multipart_upload, NAMESPACE, BUCKET, details)


def rides_out_faults():
    """The SDK's own retries bring an upload through refusals and lost replies."""
    data = os.urandom(3 * MIB)
    manager = UploadManager(STORAGE, allow_parallel_uploads=True)
    manager.upload_stream(NAMESPACE, BUCKET, "faulty", io.BytesIO(data), part_size=MIB)
    assert stored("faulty") == data


SCENARIOS = [
    upload_file,
    upload_stream,
    resume,
    single_objects,
    parts_by_hand,
    racing_commits,
    links,
    errors,
    rides_out_faults,
]
{scenario.__name__: scenario for scenario in SCENARIOS}[sys.argv[1]]()
