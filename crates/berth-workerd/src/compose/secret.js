// A secret of a store, as a binding.
export default (env) => ({
  async get() {
    if (env.value !== undefined) return env.value;
    throw new Error(`The secret of the binding "${env.name}" does not exist any more.`);
  },
});
