import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.function.Consumer;
import quickfix.Application;
import quickfix.DefaultMessageFactory;
import quickfix.Dictionary;
import quickfix.Group;
import quickfix.MemoryStoreFactory;
import quickfix.Message;
import quickfix.Session;
import quickfix.SessionID;
import quickfix.SessionSettings;
import quickfix.SocketAcceptor;
import quickfix.SocketInitiator;

/**
 * QuickFIX/J as the other side of a test: `acceptor PORT` stands for the venue, `initiator PORT` for a desk.
 *
 * It says on stdout, a line each, what it hears, and does what stdin tells it: `trade ID` (kept and resent if nobody is
 * there), `skip N` (numbers that were never used), `drop` (cut the connection), `subscribe SYMBOL`, `quit`.
 * All session rules are the engine's own, and every message is held against its FIX 4.4 dictionary.
 */
public final class Counterpart implements Application {
    private final boolean accepts;
    private final String password;
    private volatile SessionID session;

    private Counterpart(boolean accepts, String password) {
        this.accepts = accepts;
        this.password = password;
    }

    public static void main(String[] words) throws Exception {
        boolean accepts = words[0].equals("acceptor");
        Counterpart self = new Counterpart(accepts, words.length > 2 ? words[2] : "");
        SessionSettings settings = new SessionSettings();
        String us = accepts ? "CME" : "MANDI";
        String them = accepts ? "MANDI" : "CME";
        SessionID id = new SessionID("FIX.4.4", us, them);
        Dictionary options = new Dictionary();
        options.setString("ConnectionType", words[0]);
        options.setString("StartTime", "00:00:00");
        options.setString("EndTime", "00:00:00");
        options.setString("HeartBtInt", "10");
        options.setString("UseDataDictionary", "Y");
        options.setString("DataDictionary", "FIX44.xml");
        options.setString("ReconnectInterval", "1");
        options.setString("ResetOnLogon", "N");
        options.setString(accepts ? "SocketAcceptPort" : "SocketConnectPort", words[1]);
        options.setString(accepts ? "SocketAcceptAddress" : "SocketConnectHost", "127.0.0.1");
        settings.set(id, options);
        self.session = id;
        if (accepts) {
            SocketAcceptor acceptor =
                new SocketAcceptor(self, new MemoryStoreFactory(), settings, new DefaultMessageFactory());
            acceptor.start();
            say("listening");
            self.obey();
            acceptor.stop(true);
        } else {
            SocketInitiator initiator =
                new SocketInitiator(self, new MemoryStoreFactory(), settings, new DefaultMessageFactory());
            initiator.start();
            self.obey();
            initiator.stop(true);
        }
        System.exit(0);
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }

    private void obey() throws Exception {
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
        String line;
        while ((line = commands.readLine()) != null && !line.equals("quit")) {
            String[] words = line.split(" ");
            Session state = Session.lookupSession(session);
            switch (words[0]) {
                case "trade" -> Session.sendToTarget(trade(words[1]), session);
                case "skip" -> state.setNextSenderMsgSeqNum(state.getExpectedSenderNum() + Integer.parseInt(words[1]));
                case "drop" -> state.disconnect("the test says so", false);
                case "subscribe" -> Session.sendToTarget(subscription(words[1]), session);
                default -> say("unknown command " + line);
            }
        }
    }

    private static Message of(String type) {
        Message message = new Message();
        message.getHeader().setString(35, type);
        return message;
    }

    private static Message trade(String id) {
        Message message = of("X");
        message.setString(262, "T/XCEC:GC:202612");
        Group entry = new Group(268, 279, new int[] {279, 269, 278, 55, 270, 271, 272, 273});
        fill(entry, "279", "0", "269", "2", "278", id, "55", "GCZ6", "270", "4150.2", "271", "1");
        fill(entry, "272", "20261121", "273", "03:23:17");
        message.addGroup(entry);
        return message;
    }

    private static Message subscription(String symbol) {
        Message message = of("V");
        message.setString(262, "T/" + symbol);
        message.setString(263, "1");
        message.setString(264, "1");
        Group type = new Group(267, 269);
        type.setString(269, "2");
        message.addGroup(type);
        Group instrument = new Group(146, 55);
        instrument.setString(55, symbol);
        message.addGroup(instrument);
        return message;
    }

    private static Message image(Message request) throws Exception {
        Message message = of("W");
        message.setString(262, request.getString(262));
        message.setString(55, "GCZ6");
        String[][] levels = {{"0", "4150.1"}, {"1", "4150.3"}};
        for (String[] level : levels) {
            Group entry = new Group(268, 269, new int[] {269, 270, 271, 290});
            fill(entry, "269", level[0], "270", level[1], "271", "5", "290", "1");
            message.addGroup(entry);
        }
        return message;
    }

    private static void fill(Group group, String... pairs) {
        for (int at = 0; at < pairs.length; at += 2) {
            group.setString(Integer.parseInt(pairs[at]), pairs[at + 1]);
        }
    }

    @Override
    public void onCreate(SessionID id) {}

    @Override
    public void onLogon(SessionID id) {
        say("logon");
    }

    @Override
    public void onLogout(SessionID id) {
        say("logout");
    }

    @Override
    public void toAdmin(Message message, SessionID id) {
        report("sent", message);
        try {
            if (!accepts && message.getHeader().getString(35).equals("A")) {
                message.setString(553, "MANDI");
                message.setString(554, password);
            }
        } catch (Exception impossible) {
            say("error " + impossible);
        }
    }

    @Override
    public void fromAdmin(Message message, SessionID id) {
        report("admin", message);
    }

    @Override
    public void toApp(Message message, SessionID id) {}

    @Override
    public void fromApp(Message message, SessionID id) {
        try {
            String type = message.getHeader().getString(35);
            report("app", message);
            if (type.equals("X")) {
                boolean again = message.getHeader().isSetField(43) && message.getHeader().getBoolean(43);
                Consumer<Group> tell = entry -> {
                    try {
                        say("trade " + entry.getString(278) + (again ? " again" : " live"));
                    } catch (Exception missing) {
                        say("error " + missing);
                    }
                };
                message.getGroups(268).forEach(tell);
            } else if (accepts && type.equals("V") && !message.getGroups(267).get(0).getString(269).equals("2")) {
                Session.sendToTarget(image(message), id);
            }
        } catch (Exception error) {
            say("error " + error);
        }
    }

    private static void report(String how, Message message) {
        say(how + " " + message.toString().replace('\u0001', '|'));
    }
}
