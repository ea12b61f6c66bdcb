/** Colours for people who read a terminal that has them. */
import picocolors from 'picocolors'

/** None where the stream is no terminal, TERM is dumb, or NO_COLOR is set (https://no-color.org). */
export const colours = ({
  isTTY,
}: {
  isTTY?: boolean | undefined
}): ReturnType<typeof picocolors.createColors> =>
  picocolors.createColors(isTTY === true && process.env.TERM !== 'dumb' && !process.env.NO_COLOR)
