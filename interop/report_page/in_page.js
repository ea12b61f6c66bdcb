/** Functions that run inside the page; each returns what it found wrong, or what it saw. */

/** Elements that stick out of the window, unless a region scrolls them. */
export function wider() {
  const width = document.documentElement.clientWidth
  const found = [...document.body.querySelectorAll('*')].filter((element) => {
    const region = element.closest('.scroll')
    if (region && region !== element) return false
    const { right, left, width: own } = element.getBoundingClientRect()
    return own > 0 && (right > width + 0.5 || left < -0.5) && !element.matches('.skip')
  })
  const page = document.documentElement.scrollWidth
  return [
    ...(page > width ? [`the page is ${page} wide`] : []),
    ...found.slice(0, 5).map((e) => e.outerHTML.slice(0, 120)),
  ]
}

/** Texts of figures that reach out of their figure. */
export function cut() {
  return [...document.querySelectorAll('svg')].flatMap((svg) => {
    const frame = svg.getBoundingClientRect()
    return [...svg.querySelectorAll('text')]
      .filter((text) => {
        const { left, right, top, bottom } = text.getBoundingClientRect()
        return (
          left < frame.left - 1 || right > frame.right + 1 || top < frame.top - 1 || bottom > frame.bottom + 1
        )
      })
      .map((text) => `${svg.querySelector('title')?.textContent}: ${text.textContent}`)
  })
}

/** Texts of HTML whose contrast on their background is below 4.5, the AA of WCAG 2.2. */
export function faint() {
  const numbers = (colour) => colour.match(/[\d.]+/g).map(Number)
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) =>
      v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4,
    )
    return 0.2126 * x + 0.7152 * y + 0.0722 * z
  }
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = numbers(getComputedStyle(each).backgroundColor)
      if (colour.length < 4 || colour[3] > 0) return colour
    }
    return [255, 255, 255]
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  const found = []
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement
    if (node.textContent.trim() === '' || element.closest('svg')) continue
    const [a, b] = [numbers(getComputedStyle(element).color), behind(element)]
      .map(luminance)
      .sort((x, y) => y - x)
    const contrast = (a + 0.05) / (b + 0.05)
    if (contrast < 4.5) found.push(`${contrast.toFixed(2)}: ${node.textContent.slice(0, 40)}`)
  }
  return found
}

/** What the keyboard is at, with whether that can be seen. */
export function focused() {
  const element = document.activeElement
  if (!element || element === document.body) return undefined
  const { outlineStyle, outlineWidth } = getComputedStyle(element)
  const { top, bottom, width, height } = element.getBoundingClientRect()
  element.dataset.reached = 'yes'
  return {
    name: `${element.tagName.toLowerCase()} ${element.getAttribute('aria-label') ?? element.textContent.slice(0, 40)}`,
    outlined: outlineStyle !== 'none' && Number.parseFloat(outlineWidth) >= 2,
    inView: width > 0 && height > 0 && bottom > 0 && top < window.innerHeight,
  }
}

/** Regions, links and folds that the keyboard has not been at. */
export function unreached() {
  return [...document.querySelectorAll('.scroll, a, summary')]
    .filter((element) => element.checkVisibility() && element.dataset.reached !== 'yes')
    .map((element) => element.outerHTML.slice(0, 120))
}
