/**
 * CEL rules of the API server, attached to the zod schema of the object they speak about. The rule, not
 * zod, is what refuses an object in a cluster, so a rule is written once and only here.
 */
export interface Rule {
  /** CEL that must be true; `self` is the object that carries the rule. */
  rule: string;
  /** A sentence with the field and the rule. */
  message: string;
  /** CEL of a sentence that names the value as well; the message stands in where it can't be evaluated. */
  messageExpression?: string;
  /** JSONPath below the object, of the field that a person has to change. */
  fieldPath?: string;
}

/** To be passed to `.meta()`. */
export function rules(...list: Rule[]): { "x-kubernetes-validations": Rule[] } {
  return { "x-kubernetes-validations": list };
}

/**
 * CEL of a sentence with values in it. `format` and not `+`: the API server takes a number turned into text
 * for boundless, and refuses the cost of joining such texts.
 */
export function sentence(text: string, values: string[]): string {
  return `'${text}'.format([${values.join(", ")}])`;
}

/** The optional field `smaller`, when given, must not exceed the field `larger`, which always has a value. */
export function atMost(smaller: string, larger: string): Rule {
  return {
    rule: `!has(self.${smaller}) || self.${smaller} <= self.${larger}`,
    message: `${smaller} must be at most ${larger}`,
    messageExpression: sentence(`${smaller} is %d but must be at most ${larger}, which is %d`, [
      `self.${smaller}`,
      `self.${larger}`,
    ]),
    fieldPath: `.${smaller}`,
  };
}
