/** Dates for templates, in English and UTC whatever the machine says, so that the same call gives the same text. */
const months = 'January February March April May June July August September October November December'.split(
  ' ',
)
const weekdays = 'Sunday Monday Tuesday Wednesday Thursday Friday Saturday'.split(' ')
const two = (n: number) => String(n).padStart(2, '0')

const directives: Readonly<Record<string, (date: Date) => string>> = {
  Y: (d) => String(d.getUTCFullYear()).padStart(4, '0'),
  y: (d) => two(d.getUTCFullYear() % 100),
  m: (d) => two(d.getUTCMonth() + 1),
  d: (d) => two(d.getUTCDate()),
  B: (d) => months[d.getUTCMonth()]!,
  b: (d) => months[d.getUTCMonth()]!.slice(0, 3),
  A: (d) => weekdays[d.getUTCDay()]!,
  a: (d) => weekdays[d.getUTCDay()]!.slice(0, 3),
  H: (d) => two(d.getUTCHours()),
  I: (d) => two(d.getUTCHours() % 12 || 12),
  p: (d) => (d.getUTCHours() < 12 ? 'AM' : 'PM'),
  M: (d) => two(d.getUTCMinutes()),
  S: (d) => two(d.getUTCSeconds()),
  '%': () => '%',
}

/**
 * Python's `strftime` for the directives %Y %y %m %d %B %b %A %a %H %I %p %M %S %%.
 *
 * @throws Error for any other directive.
 * @example strftime(new Date('2024-07-26'), '%d %b %Y') // '26 Jul 2024'
 */
export function strftime(date: Date, format: string): string {
  return format.replace(/%(.?)/gs, (_, letter: string) => {
    const directive = Object.hasOwn(directives, letter) ? directives[letter] : undefined
    if (!directive) throw new Error(`strftime_now does not know %${letter}`)
    return directive(date)
  })
}
