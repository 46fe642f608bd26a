/** An element with attributes and children. Text is only ever text: nothing here reads HTML. */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  attributes: Readonly<Record<string, string>>,
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name)
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== '' || attribute === 'value') made.setAttribute(attribute, value)
  }
  made.append(...children)
  return made
}
