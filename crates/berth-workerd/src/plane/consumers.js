// Who gets the messages of which queue, changed while the data plane runs.
//
// workerd's Queues Worker reads its consumers once, when it is loaded, into what `Object.fromEntries`
// returns. Loaded before it, this module makes that the object which `consume` changes, so that a
// deployment, or a delivery that is paused, does not restart the process that holds everybody's data.

/** By queue: `{consumer, maxBatchSize, …}`, whole, as workerd's Worker would have completed them. */
export const consumers = Object.create(null);

const { fromEntries } = Object;
Object.fromEntries = () => {
  Object.fromEntries = fromEntries;
  return consumers;
};

/** Fails, and with it the start of the process, if the Queues Worker has not taken the object. */
export function taken() {
  if (Object.fromEntries === fromEntries) return;
  Object.fromEntries = fromEntries;
  throw new Error('the Queues Worker of this workerd does not take its consumers as expected');
}

/** Says anew who consumes what. */
export function consume(settings) {
  for (const queue of Object.keys(consumers)) {
    if (!(queue in settings)) delete consumers[queue];
  }
  for (const [queue, consumer] of Object.entries(settings)) {
    // The binding whose `queue()` is called: `queues.js` has it.
    consumers[queue] = { consumer: 'app', ...consumer };
  }
}
