/** Turns the type definitions that napi-derive writes (one JSON object a line) into one .d.ts text. */
export function bindingTypes(definitions) {
  const parts = definitions
    .split('\n')
    .filter((line) => line.trim())
    .map((line) => JSON.parse(line.replace(/^[^{]*/, '')))
    .sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0))
    .map(({ kind, name, def, js_doc: comment = '' }) => {
      if (kind === 'fn') return `${comment}export ${def}`
      if (kind === 'interface') return `${comment}export interface ${name} {\n${def}\n}`
      if (kind === 'struct') return `${comment}export declare class ${name} {\n${def}\n}`
      return `${comment}${def}`
    })
  return `// Generated from native/src by native/prepare.js.\n${parts.join('\n')}\n`
}
