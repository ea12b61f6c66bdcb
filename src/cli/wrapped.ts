/** Text in lines for a terminal. */

/** Lines of at most 100 characters, each behind so many spaces. @example wrapped('some words', 4) // ['    some words'] */
export function wrapped(text: string, indent: number, width = 100): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last !== undefined && indent + last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`
    else lines.push(word)
  }
  return lines.map((line) => `${' '.repeat(indent)}${line}`)
}
