// Runs snippets of JavaScript and Python for one user, each in a process group of its own with a
// time limit. Files that a snippet leaves in /sandbox are there for the next one.
import { spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import http from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";

const LANGUAGES = {
  javascript: { file: "main.mjs", command: "node" },
  python: { file: "main.py", command: "python3" },
};
const MAX_BODY = 256 * 1024;
const MAX_OUTPUT = 64 * 1024;
const MAX_TIMEOUT_MS = 30_000;

const server = http.createServer(async (request, response) => {
  const { pathname } = new URL(request.url, "http://container");
  if (request.method !== "POST" || pathname !== "/execute") {
    return answer(response, 404, { error: "POST /execute" });
  }
  try {
    const job = JSON.parse(await readBody(request));
    const language = LANGUAGES[job.language];
    if (!language) {
      return answer(response, 400, { error: `unsupported language: ${job.language}` });
    }
    if (typeof job.code !== "string") return answer(response, 400, { error: "code is missing" });
    const timeout = Math.min(Number(job.timeout ?? 5000) || 5000, MAX_TIMEOUT_MS);
    return answer(response, 200, await execute(language, job.code, timeout));
  } catch (error) {
    return answer(response, 400, { error: error.message });
  }
});

async function execute({ file, command }, code, timeout) {
  const directory = await mkdtemp(path.join(tmpdir(), "code-"));
  try {
    const script = path.join(directory, file);
    await writeFile(script, code);
    return await run(command, [script], timeout);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

function run(command, args, timeout) {
  return new Promise((resolve, reject) => {
    const started = performance.now();
    // Its own process group, so that the time limit also ends what the snippet has started.
    const child = spawn(command, args, { detached: true, stdio: ["ignore", "pipe", "pipe"] });
    let timedOut = false;
    const timer = setTimeout(() => {
      timedOut = true;
      killGroup(child.pid);
    }, timeout);
    const stdout = collect(child.stdout);
    const stderr = collect(child.stderr);
    child.on("error", reject);
    child.on("exit", () => killGroup(child.pid));
    child.on("close", (exitCode, signal) => {
      clearTimeout(timer);
      const durationMs = Math.round(performance.now() - started);
      resolve({ stdout: stdout(), stderr: stderr(), exitCode, signal, timedOut, durationMs });
    });
  });
}

function killGroup(pid) {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // Nobody is left in the group.
  }
}

/** Keeps the beginning of a stream and reads the rest away. */
function collect(stream) {
  const chunks = [];
  let size = 0;
  stream.on("data", (chunk) => {
    if (size < MAX_OUTPUT) chunks.push(chunk.subarray(0, MAX_OUTPUT - size));
    size += chunk.length;
  });
  return () => Buffer.concat(chunks).toString("utf8");
}

async function readBody(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > MAX_BODY) throw new Error("the code is too long");
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

function answer(response, status, body) {
  response.writeHead(status, { "Content-Type": "application/json" });
  response.end(JSON.stringify(body));
}

process.on("SIGTERM", () => process.exit(0));
server.listen(8080, () => console.log("Sandbox is ready on port 8080"));
