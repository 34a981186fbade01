// Imported as text, see "rules" in wrangler.jsonc
declare module "*.csv" {
  const text: string;
  export default text;
}
