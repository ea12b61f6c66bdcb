/** How wide text gets in a figure, which no script can measure there: rather too wide than too narrow. */

/** Pixels of a text in the 12 pixels of the figures, in a wide face. */
export function textWidth(text: string): number {
  let width = 0
  for (const character of text) width += characterWidth(character)
  return Math.ceil(width)
}

function characterWidth(character: string): number {
  if (character > '~') return character === '·' || character === '−' ? 8 : 13
  if (/[mwMW@%]/.test(character)) return 12
  if (/[A-Z#&+<=>~]/.test(character)) return 10.2
  return /[ijlIft.,:;'|!()[\]/\\ ]/.test(character) ? 5.6 : 8
}

/** The text, cut where it is wider than `most` pixels. */
export function fitted(text: string, most: number): string {
  if (textWidth(text) <= most) return text
  const characters = [...text.slice(0, most)]
  while (characters.length > 0 && textWidth(`${characters.join('')}…`) > most) characters.pop()
  return `${characters.join('')}…`
}
