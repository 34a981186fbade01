// Imported as text, as the bundler does it by default
declare module "*.html" {
  const text: string;
  export default text;
}
