// Runs a handler of the Worker on request, under wrangler's paths:
// /cdn-cgi/handler/scheduled?cron=<expression>&time=<milliseconds since 1970>.
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    if (url.pathname !== '/cdn-cgi/handler/scheduled') {
      return new Response('There is no such handler to trigger.\n', { status: 404 });
    }
    const time = url.searchParams.get('time');
    const { outcome } = await env.WORKER.scheduled({
      scheduledTime: time === null ? new Date() : new Date(Number(time)),
      cron: url.searchParams.get('cron') ?? '',
    });
    return new Response(outcome, { status: outcome === 'ok' ? 200 : 500 });
  },
};
