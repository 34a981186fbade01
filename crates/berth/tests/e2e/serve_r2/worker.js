// Every method of an R2 binding. What is not as it should be is in the answer, by name.
const wrong = [];
let checked = 0;
function same(name, found, expected) {
  checked++;
  if (JSON.stringify(found) !== JSON.stringify(expected)) wrong.push({ name, found: found ?? null, expected });
}
async function fails(name, promise, code) {
  checked++;
  try {
    await promise;
    wrong.push({ name, found: "no error" });
  } catch (error) {
    if (!String(error.message).includes(code)) wrong.push({ name, found: error.message, expected: code });
  }
}
const hex = (buffer) => [...new Uint8Array(buffer)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const digest = async (name, text) => hex(await crypto.subtle.digest(name, new TextEncoder().encode(text)));
const keys = (page) => page.objects.map((object) => object.key);

async function objects(bucket) {
  same("head of nothing", await bucket.head("none"), null);
  same("get of nothing", await bucket.get("none"), null);
  const text = "hello wörld";
  const size = new TextEncoder().encode(text).length;
  const sent = {
    httpMetadata: { contentType: "text/plain", contentLanguage: "de", contentDisposition: "inline",
      contentEncoding: "identity", cacheControl: "max-age=3", cacheExpiry: new Date(86400000) },
    customMetadata: { own: "ключ", other: "" },
    sha256: await digest("SHA-256", text),
  };
  const put = await bucket.put("a/ü 1", text, sent);
  same("put", [put.key, put.size, put.etag, put.httpEtag], ["a/ü 1", size, hex(put.checksums.md5), `"${put.etag}"`]);
  same("put: sum", hex(put.checksums.sha256), sent.sha256);
  same("put: now", Math.abs(put.uploaded - Date.now()) < 60000, true);
  same("put: class", put.storageClass, "Standard");
  const head = await bucket.head("a/ü 1");
  same("head", [head.version, head.size, head.etag, head.uploaded], [put.version, size, put.etag, put.uploaded]);
  same("head: http", head.httpMetadata, sent.httpMetadata);
  same("head: custom", Object.entries(head.customMetadata).sort(), [["other", ""], ["own", "ключ"]]);
  const headers = new Headers();
  head.writeHttpMetadata(headers);
  same("headers", [...headers.entries()].length, 6);
  const got = await bucket.get("a/ü 1");
  same("get", [await got.text(), got.bodyUsed], [text, true]);
  same("get: json", await (await bucket.put("json", '{"a":[1]}'), await bucket.get("json")).json(), { a: [1] });
  await bucket.put("bytes", new Uint8Array([1, 2, 3, 4, 5]));
  same("bytes", hex(await (await bucket.get("bytes")).arrayBuffer()), "0102030405");
  await bucket.put("blob", new Blob(["ab", "cd"]));
  same("blob", await (await (await bucket.get("blob")).blob()).text(), "abcd");
  await bucket.put("empty", null);
  same("empty", [await (await bucket.get("empty")).text(), (await bucket.head("empty")).size], ["", 0]);
  const { readable, writable } = new FixedLengthStream(300000);
  const writer = writable.getWriter();
  const pump = (async () => { for (let i = 0; i < 3; i++) await writer.write(new Uint8Array(100000).fill(i)); await writer.close(); })();
  same("stream", (await bucket.put("stream", readable)).size, 300000);
  await pump;
  let bytes = 0, last;
  for await (const piece of (await bucket.get("stream")).body) { bytes += piece.length; last = piece.at(-1); }
  same("stream back", [bytes, last], [300000, 2]);
  same("class", (await bucket.put("cold", "x", { storageClass: "InfrequentAccess" })).storageClass, "InfrequentAccess");
  for (const name of ["md5", "sha1", "sha384", "sha512"]) {
    const size = { md5: 32, sha1: 40, sha384: 96, sha512: 128 }[name];
    await fails(`wrong ${name}`, bucket.put("x", "y", { [name]: "00".repeat(size / 2) }), "10037");
  }
  const sha512 = await digest("SHA-512", "y");
  same("right sha512", hex((await bucket.put("x", "y", { sha512 })).checksums.sha512), sha512);
  await fails("long key", bucket.put("k".repeat(1025), ""), "10020");
  await fails("metadata", bucket.put("x", "", { customMetadata: { a: "b".repeat(9000) } }), "10012");
  await fails("ssec", bucket.put("x", "", { ssecKey: "00".repeat(32) }), "10029");
}

async function ranges(bucket) {
  await bucket.put("digits", "0123456789");
  const read = async (range) => { const found = await bucket.get("digits", { range }); return [await found.text(), found.range]; };
  same("offset, length", await read({ offset: 2, length: 3 }), ["234", { offset: 2, length: 3 }]);
  same("offset", await read({ offset: 7 }), ["789", { offset: 7, length: 3 }]);
  same("length", await read({ length: 4 }), ["0123", { offset: 0, length: 4 }]);
  same("suffix", await read({ suffix: 2 }), ["89", { offset: 8, length: 2 }]);
  same("long suffix", (await read({ suffix: 200 }))[0], "0123456789");
  same("too long", (await read({ offset: 8, length: 100 }))[0], "89");
  same("header", (await read(new Headers({ range: "bytes=1-3" })))[0], "123");
  same("header: last", (await read(new Headers({ range: "bytes=-1" })))[0], "9");
  await fails("beyond", bucket.get("digits", { range: { offset: 10 } }), "10039");
}

async function conditions(bucket) {
  const put = await bucket.put("c", "1");
  const get = async (onlyIf) => "body" in (await bucket.get("c", { onlyIf }));
  same("etag", await get({ etagMatches: put.etag }), true);
  same("other etag", await get({ etagMatches: "x" }), false);
  same("not etag", await get({ etagDoesNotMatch: put.etag }), false);
  same("any", await get({ etagMatches: "*" }), true);
  same("before", await get({ uploadedBefore: new Date(Date.now() + 60000) }), true);
  same("not before", await get({ uploadedBefore: new Date(0) }), false);
  same("after", await get({ uploadedAfter: new Date(0) }), true);
  same("not after", await get({ uploadedAfter: new Date(Date.now() + 60000) }), false);
  same("headers", await get(new Headers({ "if-none-match": `W/"x", "${put.etag}"` })), false);
  same("since", await get(new Headers({ "if-modified-since": put.uploaded.toUTCString() })), false);
  same("put: unmet", await bucket.put("c", "2", { onlyIf: { etagMatches: "x" } }), null);
  same("put: still", await (await bucket.get("c")).text(), "1");
  same("put: new only", await bucket.put("c", "2", { onlyIf: new Headers({ "if-none-match": "*" }) }), null);
  same("put: met", (await bucket.put("c", "2", { onlyIf: { etagMatches: put.etag } })).size, 1);
  same("put: nothing there", await bucket.put("d", "2", { onlyIf: { etagMatches: "*" } }), null);
}

async function lists(bucket) {
  const names = ["l/1", "l/2/a", "l/2/b", "l/3", "l/4/a"];
  for (const name of names) await bucket.put(name, name, { customMetadata: { name }, httpMetadata: { contentType: "x/y" } });
  const all = await bucket.list({ prefix: "l/" });
  same("list", [keys(all), all.truncated, all.objects[0].customMetadata], [names, false, undefined]);
  const level = await bucket.list({ prefix: "l/", delimiter: "/" });
  same("delimiter", [keys(level), level.delimitedPrefixes], [["l/1", "l/3"], ["l/2/", "l/4/"]]);
  const found = [];
  let cursor, pages = 0;
  do {
    const page = await bucket.list({ prefix: "l/", delimiter: "/", limit: 1, cursor });
    found.push(...keys(page), ...page.delimitedPrefixes);
    cursor = page.truncated ? page.cursor : undefined;
    pages++;
  } while (cursor && pages < 10);
  same("pages", [found, pages], [["l/1", "l/2/", "l/3", "l/4/"], 4]);
  same("start", keys(await bucket.list({ prefix: "l/", startAfter: "l/2/a" })), ["l/2/b", "l/3", "l/4/a"]);
  const include = await bucket.list({ prefix: "l/1", include: ["customMetadata", "httpMetadata"] });
  same("include", [include.objects[0].customMetadata, include.objects[0].httpMetadata], [{ name: "l/1" }, { contentType: "x/y" }]);
  await fails("limit", bucket.list({ limit: 1001 }), "10022");
  await fails("cursor", bucket.list({ cursor: "?" }), "10029");
  await bucket.delete("l/1");
  await bucket.delete(["l/2/a", "l/2/b", "none"]);
  same("deleted", keys(await bucket.list({ prefix: "l/" })), ["l/3", "l/4/a"]);
}

async function parts(bucket) {
  const size = 5 * 1024 * 1024;
  const upload = await bucket.createMultipartUpload("big", { customMetadata: { a: "b" }, httpMetadata: { contentType: "x/z" } });
  same("upload", upload.key, "big");
  const one = await upload.uploadPart(1, new Uint8Array(size).fill(1));
  const again = bucket.resumeMultipartUpload("big", upload.uploadId);
  const two = await again.uploadPart(2, "the end");
  same("not yet", await bucket.head("big"), null);
  await fails("no such part", upload.complete([{ partNumber: 1, etag: "x" }]), "10025");
  await fails("too small", (async () => {
    const small = await upload.uploadPart(3, "small");
    return upload.complete([one, two, small]);
  })(), "10011");
  const whole = await again.complete([two, one]);
  same("complete", [whole.size, whole.etag.endsWith("-2"), whole.customMetadata, whole.httpMetadata], [size + 7, true, { a: "b" }, { contentType: "x/z" }]);
  same("end", await (await bucket.get("big", { range: { suffix: 9 } })).text(), "\u0001\u0001the end");
  await fails("twice", upload.complete([one, two]), "10024");
  await fails("late", upload.uploadPart(4, "x"), "10024");
  await upload.abort();
  const given = await bucket.createMultipartUpload("given up");
  await given.uploadPart(1, "x");
  await given.abort();
  await fails("given up", given.uploadPart(2, "x"), "10024");
  await fails("unknown", bucket.resumeMultipartUpload("big", "none").uploadPart(1, "x"), "10024");
}

export default {
  async fetch(request, env) {
    const { pathname, searchParams } = new URL(request.url);
    const key = searchParams.get("key");
    if (pathname === "/read") {
      const found = await env.FILES.get(key);
      if (found === null) return new Response("not there", { status: 404 });
      return new Response(`${found.httpMetadata.contentType}: ${await found.text()}`);
    }
    if (pathname === "/write") {
      await env.FILES.put(key, searchParams.get("text"));
      return new Response("written");
    }
    wrong.length = checked = 0;
    try {
      for (const part of [objects, ranges, conditions, lists, parts]) await part(env.FILES);
    } catch (error) {
      wrong.push({ name: "exception", found: error.stack });
    }
    let cursor;
    do {
      const page = await env.FILES.list({ cursor });
      await env.FILES.delete(keys(page));
      cursor = page.truncated ? page.cursor : undefined;
    } while (cursor);
    return Response.json({ checked, wrong });
  },
};
