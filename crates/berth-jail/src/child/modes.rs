//! Modes of a terminal as SSH writes them (RFC 4254, section 8): an opcode and a number for each setting
//! of POSIX's `termios`. What Linux has no such setting for is left out.

use rustix::termios::{
    ControlModes, InputModes, LocalModes, OutputModes, SpecialCodeIndex as Code, Termios,
};

/// How "this character does nothing" is written, and what Linux has for it.
const NO_CHARACTER: u32 = 255;
const DISABLED: u8 = 0;

/// Makes the settings those of the modes; later ones win.
pub(super) fn apply(settings: &mut Termios, modes: &[(u8, u32)]) {
    for &(opcode, value) in modes {
        if let Some(code) = special(opcode) {
            let disabled = value == NO_CHARACTER;
            // Nothing above a byte is a character.
            if let Some(character) = u8::try_from(value).ok().filter(|_| !disabled) {
                settings.special_codes[code] = character;
            } else if disabled {
                settings.special_codes[code] = DISABLED;
            }
        } else if let Some(mode) = input(opcode) {
            settings.input_modes.set(mode, value != 0);
        } else if let Some(mode) = local(opcode) {
            settings.local_modes.set(mode, value != 0);
        } else if let Some(mode) = output(opcode) {
            settings.output_modes.set(mode, value != 0);
        } else {
            control(settings, opcode, value);
        }
    }
}

fn special(opcode: u8) -> Option<Code> {
    Some(match opcode {
        1 => Code::VINTR,
        2 => Code::VQUIT,
        3 => Code::VERASE,
        4 => Code::VKILL,
        5 => Code::VEOF,
        6 => Code::VEOL,
        7 => Code::VEOL2,
        8 => Code::VSTART,
        9 => Code::VSTOP,
        10 => Code::VSUSP,
        12 => Code::VREPRINT,
        13 => Code::VWERASE,
        14 => Code::VLNEXT,
        16 => Code::VSWTC,
        18 => Code::VDISCARD,
        _ => return None,
    })
}

fn input(opcode: u8) -> Option<InputModes> {
    Some(match opcode {
        30 => InputModes::IGNPAR,
        31 => InputModes::PARMRK,
        32 => InputModes::INPCK,
        33 => InputModes::ISTRIP,
        34 => InputModes::INLCR,
        35 => InputModes::IGNCR,
        36 => InputModes::ICRNL,
        37 => InputModes::IUCLC,
        38 => InputModes::IXON,
        39 => InputModes::IXANY,
        40 => InputModes::IXOFF,
        41 => InputModes::IMAXBEL,
        42 => InputModes::IUTF8,
        _ => return None,
    })
}

fn local(opcode: u8) -> Option<LocalModes> {
    Some(match opcode {
        50 => LocalModes::ISIG,
        51 => LocalModes::ICANON,
        52 => LocalModes::XCASE,
        53 => LocalModes::ECHO,
        54 => LocalModes::ECHOE,
        55 => LocalModes::ECHOK,
        56 => LocalModes::ECHONL,
        57 => LocalModes::NOFLSH,
        58 => LocalModes::TOSTOP,
        59 => LocalModes::IEXTEN,
        60 => LocalModes::ECHOCTL,
        61 => LocalModes::ECHOKE,
        62 => LocalModes::PENDIN,
        _ => return None,
    })
}

fn output(opcode: u8) -> Option<OutputModes> {
    Some(match opcode {
        70 => OutputModes::OPOST,
        71 => OutputModes::OLCUC,
        72 => OutputModes::ONLCR,
        73 => OutputModes::OCRNL,
        74 => OutputModes::ONOCR,
        75 => OutputModes::ONLRET,
        _ => return None,
    })
}

fn control(settings: &mut Termios, opcode: u8, value: u32) {
    let modes = &mut settings.control_modes;
    let size = match opcode {
        90 => Some(ControlModes::CS7),
        91 => Some(ControlModes::CS8),
        _ => None,
    };
    match opcode {
        90 | 91 if value != 0 => {
            modes.remove(ControlModes::CSIZE);
            modes.insert(size.unwrap_or(ControlModes::CS8));
        }
        92 => modes.set(ControlModes::PARENB, value != 0),
        93 => modes.set(ControlModes::PARODD, value != 0),
        // A speed of zero would hang up. What cannot be set stays: nothing is that fast or slow.
        128 if value != 0 => drop(settings.set_input_speed(value)),
        129 if value != 0 => drop(settings.set_output_speed(value)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use rustix::pty::{OpenptFlags, openpt, unlockpt};
    use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};

    use super::*;

    #[test]
    fn modes_of_ssh_become_settings_of_a_terminal() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        unlockpt(&master).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let terminal = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        let before = tcgetattr(&terminal).unwrap();
        assert!(before.local_modes.contains(LocalModes::ECHO));

        let mut wanted = before.clone();
        let modes = [
            (3, 8),
            (10, 255),
            (1, 1000),
            (53, 0),
            (42, 1),
            (72, 0),
            (90, 1),
            (129, 38_400),
            (128, 0),
            // What there is nothing for.
            (11, 1),
            (200, 1),
        ];
        apply(&mut wanted, &modes);
        tcsetattr(&terminal, OptionalActions::Now, &wanted).unwrap();

        let after = tcgetattr(&terminal).unwrap();
        assert_eq!(after.special_codes[Code::VERASE], 8);
        assert_eq!(after.special_codes[Code::VSUSP], DISABLED);
        assert_eq!(after.special_codes[Code::VINTR], 3, "no such character");
        assert!(!after.local_modes.contains(LocalModes::ECHO));
        assert!(after.local_modes.contains(LocalModes::ICANON));
        assert!(after.input_modes.contains(InputModes::IUTF8));
        assert!(!after.output_modes.contains(OutputModes::ONLCR));
        assert_eq!(after.output_speed(), 38_400);
    }
}
