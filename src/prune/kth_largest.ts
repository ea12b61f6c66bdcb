/** Which score is the last to be kept: selection by partition (Hoare 1961), in time that grows with the count. */

/**
 * The k-th largest of the values, k from 1 to their count; none may be NaN. The values stay as they are.
 *
 * @example kthLargest(Float32Array.of(1, 4, 2), 2) // 2
 */
export function kthLargest(values: Float32Array | Float64Array, k: number): number {
  const rest = values.slice()
  const wanted = rest.length - k
  let [low, high] = [0, rest.length - 1]
  while (low < high) {
    const pivot = middleOf(rest[low]!, rest[(low + high) >> 1]!, rest[high]!)
    let [left, right] = [low, high]
    while (left <= right) {
      while (rest[left]! < pivot) left++
      while (rest[right]! > pivot) right--
      if (left > right) break
      const swapped = rest[left]!
      rest[left++] = rest[right]!
      rest[right--] = swapped
    }
    // Between the two positions stands the pivot itself.
    if (wanted <= right) high = right
    else if (wanted >= left) low = left
    else break
  }
  return rest[wanted]!
}

const middleOf = (a: number, b: number, c: number): number =>
  Math.max(Math.min(a, b), Math.min(Math.max(a, b), c))
