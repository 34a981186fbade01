// D1's binding of a Worker with the flag `d1_binding_jsrpc` calls `query()`; a server's data plane is
// asked by HTTP.
import { WorkerEntrypoint } from 'cloudflare:workers';

const BOOKMARK = 'x-cf-d1-session-commit-token';

export default class extends WorkerEntrypoint {
  async query({ queries, bookmark }) {
    const headers = { 'berth-resource': this.ctx.props.resource };
    if (bookmark) headers[BOOKMARK] = bookmark;
    const url = 'http://d1/query?resultsFormat=ROWS_AND_COLUMNS';
    const init = { method: 'POST', headers, body: JSON.stringify(queries) };
    const response = await this.env.PLANE.fetch(url, init);
    const answer = await response.json();
    if (!Array.isArray(answer)) throw new Error(answer.error);
    const results = answer.map(({ meta, results }) => ({
      meta,
      data: { kind: 'raw', columns: results.columns, rows: results.rows },
    }));
    const later = response.headers.get(BOOKMARK);
    return { results, ...(later && { bookmark: later }) };
  }
}
